"""What a sweep's best model has to beat: a trivial answer and a classical model, on the same rows of the same split."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

from lantu.data import DataModule
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.tracking import journal
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder

MOST_TRAINING = 20_000
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


def baselines(data: DataModule) -> list[Baseline]:
    """Fit a trivial and a classical model on the training split and measure both on the others.

    The classical one is what a careful person tries first: gradient-boosted trees for tables, logistic regression on
    pixels for images, on TF-IDF weights of the tokens for texts.

    Raises:
        ValueError: the data are not a table, images or texts with one target.
    """
    kind, task = str(data.spec["kind"]), str(data.spec["task"])
    if kind not in ("table", "image", "text") or task not in ("classification", "regression"):
        raise ValueError(f"there is no baseline for {kind} and {task}")
    rows = _rows(data, kind)
    made = []
    for name, (description, model) in _models(kind, task, rows["train"][0].shape).items():
        begun = time.perf_counter()
        model.fit(*rows["train"])
        metrics = {
            f"{split}/{metric}": value
            for split in ("val", "test")
            if split in rows
            for metric, value in _measured(model, rows[split], rows["train"][1], task).items()
        }
        made.append(Baseline(name, description, metrics, time.perf_counter() - begun))
    return made


def record(sweep: SweepFolder, baseline: Baseline, *, tracking_uri: str | None, parent: dict[str, Any] | None) -> None:
    """Leave a baseline in MLflow, among the sweep's trials."""
    folder = RunFolder(sweep.path / "baselines" / baseline.name)
    kept = Journal(folder.records)
    head = folder.head()
    folder.owner.claim()
    kept.append(
        "begin",
        format=journal.FORMAT,
        version=journal.VERSION,
        run=head["run"] if head else uuid.uuid4().hex,
        experiment=sweep.content()["experiment"],
        name=f"baseline: {baseline.name}",
        tracking_uri=tracking_uri,
        run_id=None,
        parent=parent,
    )
    kept.append("tags", values={"lantu.baseline": baseline.description})
    kept.append("metrics", step=0, values={**baseline.metrics, "cost/device_hours": baseline.seconds / 3600})
    kept.append("end", status="FINISHED")
    kept.flush()
    kept.close()


def _models(kind: str, task: str, shape: tuple[int, int]) -> dict[str, tuple[str, Any]]:
    from sklearn.decomposition import PCA
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifies = task == "classification"
    prior = ("the commonest class", DummyClassifier(strategy="prior"))
    mean = ("the mean", DummyRegressor())
    linear = LogisticRegression(max_iter=1000) if classifies else RidgeCV(np.logspace(-3, 3, 13))
    what = "logistic" if classifies else "ridge"
    trees = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
    classical = {
        "table": ("gradient-boosted trees", trees(random_state=0, early_stopping=False)),
        "image": (
            f"{what} regression on 100 principal components of the pixels",
            make_pipeline(StandardScaler(), PCA(min(100, *shape), random_state=0), linear),
        ),
        "text": (f"{what} regression on TF-IDF weights of the tokens", make_pipeline(TfidfTransformer(), linear)),
    }
    return {"trivial": prior if classifies else mean, "classical": classical[kind]}


def _rows(data: DataModule, kind: str) -> dict[str, Rows]:
    found = {}
    for split, examples in data.splits.items():
        number = len(examples)  # type: ignore[arg-type]
        # a classical model learns little more from more rows than these, and takes very much longer
        chosen = np.random.default_rng(0).permutation(number)[:MOST_TRAINING] if split == "train" else np.arange(number)
        x, y = examples.__getitems__(np.sort(chosen).tolist())  # type: ignore[attr-defined]
        if kind == "text":
            features = _counts(x.numpy(), int(data.spec["vocab_size"]), int(data.spec.get("pad_id", 0)))
        else:
            features = x.flatten(1).float().numpy()
        found[split] = (features, y.numpy().reshape(-1))
    return found


def _counts(tokens: np.ndarray, vocab_size: int, pad_id: int) -> Any:
    """How often each text (a row of token ids) has each token: (N, vocab_size), sparse."""
    from scipy.sparse import csr_matrix

    places = np.repeat(np.arange(len(tokens)), tokens.shape[1])
    ids = tokens.reshape(-1)
    real = ids != pad_id
    ones = np.ones(int(real.sum()), dtype=np.float32)
    return csr_matrix((ones, (places[real], ids[real])), shape=(len(tokens), vocab_size))


def _measured(model: Any, rows: Rows, trained_on: np.ndarray, task: str) -> dict[str, float]:
    from sklearn import metrics

    x, y = rows
    if task == "regression":
        answers = model.predict(x)
        error = float(np.mean((answers - y) ** 2))
        # our tasks' loss is on the scale of the standardised target
        return {
            "loss": error / float(np.var(trained_on) or 1.0),
            "rmse": error**0.5,
            "r2": float(metrics.r2_score(y, answers)),
        }
    chances = model.predict_proba(x)
    answers = model.classes_[chances.argmax(axis=1)]
    found = {
        "loss": float(metrics.log_loss(y, chances, labels=model.classes_)),
        "accuracy": float(metrics.accuracy_score(y, answers)),
    }
    if len(model.classes_) == 2 and len(np.unique(y)) == 2:
        found["auroc"] = float(metrics.roc_auc_score(y, chances[:, 1]))
    return found
