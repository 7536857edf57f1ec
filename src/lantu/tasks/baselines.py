"""What a sweep's best model has to beat: a trivial answer and a classical model, on the same rows of the same split."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lantu.data.base import DataModule

MOST_TRAINING = 20_000
"""Training rows of a classical model: it learns little more from more, and takes very much longer."""
Rows = tuple[Any, np.ndarray]
"""Features (N, F), dense or sparse, and targets (N,)."""


@dataclass(frozen=True)
class Baseline:
    """One fitted baseline."""

    name: str
    description: str
    metrics: dict[str, float]
    """val/... and test/..., by the names that our tasks log."""
    seconds: float


def fit_baselines(data: DataModule, *, kind: Literal["classification", "regression"]) -> list[Baseline]:
    """Fit a trivial and a classical model on the training split and measure both on the others.

    The classical one is what the data module names: gradient-boosted trees for tables, logistic regression on pixels
    for images, on TF-IDF weights of the tokens for texts.

    Raises:
        UserError: the data module does not say what its features are.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor

    classifies = kind == "classification"
    rows = {split: data.classical_features(split, _chosen(data, split)) for split in data.splits}
    models = {
        "trivial": ("the commonest class", DummyClassifier(strategy="prior"))
        if classifies
        else ("the mean", DummyRegressor()),
        "classical": data.classical_model(classifies=classifies, shape=rows["train"][0].shape),
    }
    made = []
    for name, (description, model) in models.items():
        begun = time.perf_counter()
        model.fit(*rows["train"])
        measure = _classification if classifies else _regression
        metrics = {
            f"{split}/{metric}": value
            for split in ("val", "test")
            if split in rows
            for metric, value in measure(model, rows[split], rows["train"][1]).items()
        }
        made.append(Baseline(name, description, metrics, time.perf_counter() - begun))
    return made


def _chosen(data: DataModule, split: str) -> np.ndarray:
    number = len(data.splits[split])  # type: ignore[arg-type]
    if split != "train":
        return np.arange(number)
    return np.sort(np.random.default_rng(0).permutation(number)[:MOST_TRAINING])


def _regression(model: Any, rows: Rows, trained_on: np.ndarray) -> dict[str, float]:
    from sklearn import metrics

    x, y = rows
    predicted = model.predict(x)
    error = float(np.mean((predicted - y) ** 2))
    # our tasks' loss is on the scale of the standardised target
    return {
        "loss": error / float(np.var(trained_on) or 1.0),
        "rmse": error**0.5,
        "r2": float(metrics.r2_score(y, predicted)),
    }


def _classification(model: Any, rows: Rows, trained_on: np.ndarray) -> dict[str, float]:
    from sklearn import metrics

    x, y = rows
    probabilities = model.predict_proba(x)
    predicted = model.classes_[probabilities.argmax(axis=1)]
    found = {
        "loss": float(metrics.log_loss(y, probabilities, labels=model.classes_)),
        "accuracy": float(metrics.accuracy_score(y, predicted)),
    }
    if len(model.classes_) == 2 and len(np.unique(y)) == 2:
        found["auroc"] = float(metrics.roc_auc_score(y, probabilities[:, 1]))
    return found
