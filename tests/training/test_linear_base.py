"""Networks for tables begin from a linear model: what the run decides, fits, keeps and resumes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import RidgeCV

import lantu
from lantu.config.checking import check
from lantu.errors import UserError
from lantu.models import MLP
from lantu.training.linear_base import PENALTIES

Train = Callable[..., lantu.Result]
QUIET = ("model=mlp", "trainer.enable_progress_bar=false", "logger=none", "save_model=false", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rate that is a small difference of two large columns, and whether it is above the median."""
    random = np.random.default_rng(0)
    share = random.normal(500, 200, 600)
    rate = random.normal(0, 1, 600)
    noise = random.normal(0, 0.05, 600)
    path = tmp_path_factory.mktemp("loans") / "loans.csv"
    frame = pd.DataFrame({"share": share, "instalment": share + rate + noise, "rate": rate})
    frame["high"] = np.where(rate > np.median(rate), "yes", "no")
    frame.to_csv(path, index=False)
    return path


def of(path: Path, target: str) -> tuple[str, ...]:
    other = {"rate": "high", "high": "rate"}[target]
    return ("data=csv", f"data.path={path}", f"data.target={target}", f"data.ignore=[{other}]", "data.numbers=standard")


def test_a_small_difference_of_large_columns_is_found_with_the_linear_model_and_not_without(
    train: Train, loans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(*of(loans, "rate"), *QUIET)
    assert "adds to a linear model" in capsys.readouterr().err
    assert result.cfg.model.linear_base is True
    assert result.metrics["test/r2"] > 0.95
    without = train(*of(loans, "rate"), *QUIET, "model.linear_base=false")
    assert "linear model, fitted" not in capsys.readouterr().err
    assert without.metrics["test/r2"] < 0.5


def test_before_training_the_networks_answer_is_the_fitted_linear_models(train: Train, loans: Path) -> None:
    result = train(*of(loans, "rate"), *QUIET, "optimizer.lr=1e-12")
    data = result.data
    x, y = data.classical_features("train", np.arange(len(data.splits["train"])))
    expected = RidgeCV(PENALTIES).fit(x.astype(float), y).predict(x)
    with torch.no_grad():
        found = result.module.net.eval()(torch.from_numpy(x))[:, 0].numpy()
    assert found == pytest.approx(expected, abs=1e-3)


def test_classes_begin_from_logistic_regression_where_it_is_asked_for(train: Train, loans: Path) -> None:
    assert train(*of(loans, "high"), *QUIET).metrics["test/auroc"] < 0.8
    begun = train(*of(loans, "high"), *QUIET, "model.linear_base=true", "optimizer.lr=1e-12")
    assert begun.metrics["test/auroc"] > 0.95


def test_columns_that_do_not_cancel_each_other_need_no_linear_model(train: Train, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(200, 2)), columns=["a", "b"])
    path = tmp_path / "plain.csv"
    frame.assign(rate=frame["a"] + frame["b"]).to_csv(path, index=False)
    result = train("data=csv", f"data.path={path}", "data.target=rate", *QUIET)
    assert result.cfg.model.linear_base is False
    assert result.module.net.linear_base is None


def test_it_is_left_out_where_it_cannot_be_fitted_and_refused_where_it_was_asked_for(train: Train, loans: Path) -> None:
    for options, said in (
        (("data=digits",), "not the columns of a table"),
        ((*of(loans, "rate"), "fairness.group=[high]"), "fairness"),
    ):
        assert train(*options, *QUIET, "trainer.fast_dev_run=true").cfg.model.linear_base is False
        with pytest.raises(UserError, match=said):
            train(*options, *QUIET, "model.linear_base=true")


def test_private_training_refuses_it_before_start(loans: Path) -> None:
    private = (*of(loans, "rate"), "model=mlp", "privacy=dp")
    check(lantu.compose(*private))
    with pytest.raises(UserError, match="without noise"):
        check(lantu.compose(*private, "model.linear_base=true"))


def test_a_run_that_began_without_it_is_resumed_without_it(train: Train, loans: Path, tmp_path: Path) -> None:
    folder = ("paths.run=" + str(tmp_path / "run"), "logger=none")
    train(*of(loans, "rate"), *QUIET, *folder, "model.linear_base=false", "trainer.max_epochs=1")
    resumed = train(*of(loans, "rate"), *QUIET, *folder, "resume=auto")
    assert resumed.cfg.model.linear_base is False
    assert resumed.module.net.linear_base is None


def test_in_bf16_the_linear_model_is_computed_with_all_its_digits() -> None:
    net = MLP(2, 1, linear_base=True)
    assert net.linear_base is not None
    net.linear_base.set(torch.tensor([[1.0, -1.0]]), torch.zeros(1))
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(net(torch.tensor([[1000.5, 1000.0]])).detach()) == 0.5
