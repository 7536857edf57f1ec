"""What a sweep's best model has to beat: a trivial answer and a classical model, on the same rows of the same split."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lantu.data.data_module import DataModule

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
    answers: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """By split, its probabilities (N, classes) or its predictions (N,) of a quantity."""


def fit_baselines(
    data: DataModule, *, kind: Literal["classification", "regression"], loss: str = "mse"
) -> list[Baseline]:
    """Fit a trivial model and classical ones on the training split and measure them on the others.

    The classical ones are what the data module names: a linear model and gradient-boosted trees for tables, logistic
    regression on pixels for images, on TF-IDF weights of the tokens for texts.

    Args:
        loss: of a regression, as `figures_of_numbers` takes it.

    Raises:
        UserError: the data module does not say what its features are.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor

    classifies = kind == "classification"
    rows = {split: data.classical_features(split, _chosen(data, split)) for split in data.splits}
    if not classifies:  # from the standardised scale to the target's own units, in which our tasks measure
        std, mean = data.spec["target_std"][0], data.spec["target_mean"][0]
        rows = {split: (x, y * std + mean) for split, (x, y) in rows.items()}
    models = {
        "trivial": ("the commonest class", DummyClassifier(strategy="prior"))
        if classifies
        else ("the mean", DummyRegressor()),
        **data.classical_models(classifies=classifies, shape=rows["train"][0].shape),
    }
    made = []
    for name, (description, model) in models.items():
        started = time.perf_counter()
        model.fit(*rows["train"])
        answers = {
            str(split): _answers(model, rows, split, classifies=classifies)
            for split in ("val", "test")
            if split in rows
        }
        metrics = {
            f"{split}/{metric}": value
            for split, found in answers.items()
            for metric, value in (
                figures_of_classes(found, rows[split][1].astype(int))
                if classifies
                else figures_of_numbers(found, rows[split][1], variance=std**2, loss=loss)
            ).items()
        }
        made.append(Baseline(name, description, metrics, time.perf_counter() - started, answers))
    return made


def _chosen(data: DataModule, split: str) -> np.ndarray:
    return some_of(data, split) if split == "train" else np.arange(len(data.splits[split]))  # type: ignore[arg-type]


def some_of(data: DataModule, split: str) -> np.ndarray:
    """Indices in order of `MOST_TRAINING` examples of a split that a fixed seed draws, or of all if they are fewer."""
    number = len(data.splits[split])  # type: ignore[arg-type]
    return np.sort(np.random.default_rng(0).permutation(number)[:MOST_TRAINING])


def _answers(model: Any, rows: dict[str, Rows], split: str, *, classifies: bool) -> np.ndarray:
    """Probabilities (N, classes) in the order of the class numbers, or predictions (N,)."""
    if not classifies:
        return np.asarray(model.predict(rows[split][0]))
    known = model.classes_.astype(int)
    count = 1 + max(int(y.max(initial=0)) for _, y in rows.values())
    found = np.zeros((len(rows[split][1]), count))
    found[:, known] = model.predict_proba(rows[split][0])
    return found


def figures_of_numbers(predicted: np.ndarray, y: np.ndarray, *, variance: float, loss: str = "mse") -> dict[str, float]:
    """Loss, RMSE and R2 of predictions (N,).

    Args:
        variance: of the training targets; our tasks' loss is on the scale of the standardised target.
        loss: mse, mae or huber (with delta 1).
    """
    from sklearn import metrics

    error = float(np.mean((predicted - y) ** 2))
    size = np.abs(predicted - y) / ((variance or 1.0) ** 0.5)
    losses = {"mse": size**2, "mae": size, "huber": np.where(size <= 1, size**2 / 2, size - 0.5)}
    return {"loss": float(losses[loss].mean()), "rmse": error**0.5, "r2": float(metrics.r2_score(y, predicted))}


def figures_of_classes(probabilities: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Log loss, accuracy, ECE and Brier score of probabilities (N, classes), and of two classes AUROC, KS and Gini."""
    from sklearn import metrics

    from lantu.decisions.scores import brier, calibration_pairs, ks, reliability

    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)  # of float32, they sum to 1 only about
    found = {
        "loss": float(metrics.log_loss(y, probabilities, labels=range(probabilities.shape[1]))),
        "accuracy": float(metrics.accuracy_score(y, probabilities.argmax(axis=1))),
        "ece": reliability(*calibration_pairs(probabilities, y)).ece,
        "brier": brier(probabilities, y),
    }
    if probabilities.shape[1] == 2 and len(np.unique(y)) == 2:
        score = probabilities[:, 1]
        found["auroc"] = float(metrics.roc_auc_score(y, score))
        found |= {"gini": 2 * found["auroc"] - 1, "ks": ks(score, y)}
        found["average_precision"] = float(metrics.average_precision_score(y, score))
    return found
