"""A run beside simple models: the same rows, the right differences, in the target's own units."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score

import lantu
from lantu.inference.compare_baselines import ahead, answers_of
from lantu.tasks.baselines import figures_of_numbers
from lantu.tasks.regression import LOSSES


def test_a_lead_is_the_difference_of_the_figures_and_its_interval_holds_zero_for_equal_models() -> None:
    random = np.random.default_rng(0)
    y = (random.random(500) < 0.3).astype(int)
    score = np.clip(0.3 + 0.3 * (y - 0.3) + random.normal(0, 0.2, 500), 0.01, 0.99)
    own = np.stack([1 - score, score], axis=1)
    none = np.full((500, 2), 0.5)
    auroc, loss = ahead(own, none, y)
    assert auroc.value == pytest.approx(roc_auc_score(y, score) - 0.5)
    assert auroc.low > 0
    assert loss.metric == "loss"
    again = ahead(own, own, y)[0]
    assert (again.value, again.low, again.high) == (0, 0, 0)
    shuffled = own[random.permutation(500)]
    assert ahead(shuffled, none, y)[0].low < 0 < ahead(shuffled, none, y)[0].high


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (["data=breast_cancer", "model=linear"], {"trivial", "linear", "classical"}),
        (["data=csv", "data.target=income", "model=linear"], {"trivial", "linear", "classical"}),
    ],
)
def test_a_run_shows_what_it_is_ahead_of_simple_models(
    chosen: list[str], names: set[str], own_data: dict[str, list[str]], train: Callable[..., lantu.Result],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    own = [each for each in own_data["csv"] if not each.startswith("data.target")] if "data=csv" in chosen else []
    result = train(*chosen, *own, "baselines=true", "trainer.max_epochs=1", "trainer.enable_progress_bar=false",
                   "logger=none", "save_model=false")  # fmt: skip
    measure = "auroc" if "data=breast_cancer" in chosen else "r2"
    assert {f"baseline/{name}_{measure}_ahead" for name in names} <= set(result.metrics)
    answers, y = answers_of(result.module, result.data)
    found = roc_auc_score(y, answers[:, 1]) if measure == "auroc" else r2_score(y, answers)
    assert found == pytest.approx(result.metrics[f"test/{measure}"], abs=1e-4)
    lead = result.metrics[f"baseline/linear_{measure}_ahead"]
    assert lead == pytest.approx(found - result.metrics[f"baseline/linear_{measure}"], abs=1e-4)
    said = capsys.readouterr().out
    assert "on the same test rows" in said
    assert "gradient-boosted trees" in said


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_the_loss_of_a_baseline_is_the_task_s_own(loss: str) -> None:
    random = np.random.default_rng(2)
    y, predicted = random.normal(5, 3, 200), random.normal(5, 3, 200)
    standardised = (torch.from_numpy((each - 4) / 2.5) for each in (predicted, y))
    found = figures_of_numbers(predicted, y, variance=2.5**2, loss=loss)
    assert found["loss"] == pytest.approx(float(LOSSES[loss](*standardised)))
