"""Known results on real data, with honest tolerances."""

from collections.abc import Callable
from pathlib import Path

import pytest

import lantu

Train = Callable[..., lantu.Result]
QUIET = ("trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "save_model=false")
SELDOM = ("trainer.check_val_every_n_epoch=20", "baselines=false")
"""Most of the time of such a small model goes into its validations and into the models that it is compared with."""


@pytest.mark.slow
def test_logistic_regression_on_breast_cancer_reaches_an_auroc_of_099(train: Train) -> None:
    scores = [
        train("experiment=diagnosis", f"data.split_seed={seed}", *SELDOM, *QUIET).metrics["test/auroc"]
        for seed in (0, 1, 2)
    ]
    assert sum(scores) / len(scores) >= 0.99


@pytest.mark.slow
def test_linear_regression_on_ames_explains_most_of_the_prices(train: Train, mirror: Path) -> None:
    options = ("model=linear", "trainer.max_epochs=40", "optimizer.lr=3e-3", "task.loss=huber")
    assert train("data=ames", f"paths.mirror={mirror}", *options, *SELDOM, *QUIET).metrics["test/r2"] >= 0.80


@pytest.mark.slow
def test_a_cnn_on_fashion_mnist_beats_090_in_two_epochs(train: Train, mirror: Path) -> None:
    result = train("experiment=fashion", "trainer.max_epochs=2", f"paths.mirror={mirror}", *QUIET)
    assert result.metrics["test/accuracy"] >= 0.90


@pytest.mark.slow
def test_a_recurrent_network_tells_questions_apart(train: Train, mirror: Path) -> None:
    result = train("experiment=question_types", "trainer.max_epochs=5", f"paths.mirror={mirror}", *QUIET)
    assert result.metrics["test/accuracy"] >= 0.83


@pytest.mark.slow
def test_shakespeare_fast_reaches_nanogpts_loss(train: Train, mirror: Path) -> None:
    result = train("experiment=shakespeare_fast", f"paths.mirror={mirror}", *QUIET)
    assert result.metrics["val/loss"] <= 1.88
