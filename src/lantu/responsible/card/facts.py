"""What a run knows of itself, read from its checkpoint and its folder."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.decisions.scores import auc, bootstrap_weights
from lantu.errors import UserError
from lantu.inference.rebuild import Rebuilt
from lantu.notices import warn_once
from lantu.prediction_file import FOLDER, read_predictions
from lantu.tracking.journal import Reader

LICENCES = {
    "zalando-datasets/fashion_mnist": "MIT (Zalando Research)",
    "CogComp/trec": "not stated by its authors (Li and Roth 2002)",
    "rajpurkar/squad": "CC BY-SA 4.0",
    "digits": "CC BY 4.0 (UCI, through scikit-learn)",
    "breast_cancer": "CC BY 4.0 (UCI, through scikit-learn)",
}
"""Of data sets that Lantu ships a config for; of others a person must say it."""
DRAWS = 2000
"""Of the bootstrap."""


@dataclass
class Facts:
    """A run, as far as it is known; what is empty or None is not."""

    cfg: Any
    parameters: int
    inputs: list[dict[str, str]]
    outputs: list[dict[str, str]]
    carried: list[str] = field(default_factory=list)
    """Columns that predictions depend on and the network does not see."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last value of each metric."""
    intervals: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    """Of metrics of the test split: 95% interval, and how many examples it is of."""
    tags: dict[str, str] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    """The report of the data."""
    privacy: dict[str, Any] | None = None
    packages: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    """Figures, explanations and the like, relative to the run's folder."""
    folder: Path | None = None
    """None: the run's folder is not on this machine."""

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.cfg.name)

    @property
    def source(self) -> str:
        """Where the data are from."""
        source = self.cfg.data.get("source") or {}
        return str(
            self.cfg.data.get("path") or source.get("path") or source.get("name") or self.cfg.choices.get("data")
        )

    @property
    def licence(self) -> str | None:
        """Of the data; None: not known."""
        return LICENCES.get(self.source)


def facts(rebuilt: Rebuilt, checkpoint: Path) -> Facts:
    """Read what there is."""
    from lantu.responsible.privacy import ledger

    folder = checkpoint.parent.parent
    found = Facts(
        cfg=rebuilt.cfg,
        parameters=sum(each.numel() for each in rebuilt.task.net.parameters()),
        inputs=_columns(lambda: rebuilt.task.input_signature(rebuilt.data)),
        outputs=_columns(rebuilt.task.output_signature),
        carried=rebuilt.task.carried_columns,
        fingerprints=dict(getattr(rebuilt.data, "_expected", {}) or {}),
    )
    if not (folder / "config.yaml").is_file():
        return found
    found.folder = folder
    found.privacy = ledger.read(folder)
    if (folder / "journal" / "records.jsonl").is_file():
        _read_journal(folder / "journal" / "records.jsonl", found)
    if (folder / "data.json").is_file():
        found.data = _content(folder / "data.json")
    if (folder / "packages.txt").is_file():
        lines = (folder / "packages.txt").read_text(encoding="utf-8").splitlines()
        found.packages = dict(line.split("==", 1) for line in lines if "==" in line)
    for pattern in ("figures/*.png", "explanations/index.html", "monitoring/*/monitoring.html"):
        found.files += sorted(str(each.relative_to(folder)) for each in folder.glob(pattern))
    if (folder / "predictions" / "test.parquet").is_file():
        classes = getattr(rebuilt.task, "class_names", None) or []
        examples = read_predictions(folder / FOLDER / "test.parquet")
        found.intervals = intervals(examples, positive=classes[1] if len(classes) == 2 else None)
    return found


def _read_journal(path: Path, found: Facts) -> None:
    """Add the last value of each metric and tag.

    Raises:
        UserError: records are damaged, so that a value may be one of an earlier epoch.
    """
    reader, ended = Reader(path), False
    for _, record in reader:
        ended |= record["kind"] == "end"
        if record["kind"] == "metrics":
            found.metrics.update({name: float(value) for name, value in record["values"].items()})
        elif record["kind"] == "tags":
            found.tags.update({name: str(value) for name, value in record["values"].items()})
    if reader.damaged:
        raise UserError(
            f"{path} is damaged: {reader.damaged:,} of its records cannot be read, so the run's last figures are not "
            "known."
        )
    if not ended:
        warn_once(
            f"{path} has no end: the run goes on or was killed, or the file was cut. Later figures are not in the card"
        )


def _content(path: Path) -> dict[str, Any]:
    """A JSON file of a run's folder.

    Raises:
        UserError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds no mapping.")
    return found


def intervals(examples: pd.DataFrame, *, positive: str | None = None) -> dict[str, tuple[float, float, int]]:
    """95% intervals of test metrics, by the bootstrap over test examples.

    Args:
        examples: one row each, with `target` and `prediction`, or `loss`; of two classes with `score`.
        positive: of two classes the positive one: then AUROC, Gini, Brier score, precision, recall and F1 as well.
    """
    columns: dict[str, np.ndarray] = {}
    if {"target", "prediction"} <= set(examples):
        if pd.api.types.is_numeric_dtype(examples["prediction"]):
            columns["test/mae"] = (examples["prediction"] - examples["target"]).abs().to_numpy(dtype=float)
        else:
            columns["test/accuracy"] = (examples["prediction"] == examples["target"]).to_numpy(dtype=float)
    if "loss" in examples:
        columns["test/loss"] = examples["loss"].to_numpy(dtype=float)
    random, found = np.random.default_rng(0), {}
    for name, values in columns.items():
        known = values[np.isfinite(values)]
        if len(known) < 2:
            continue
        means = [known[random.integers(len(known), size=len(known))].mean() for _ in range(DRAWS)]
        low, high = np.quantile(means, [0.025, 0.975])
        found[name] = (float(low), float(high), len(known))
    if positive is not None and {"target", "prediction", "score"} <= set(examples) and len(examples) > 1:
        drawn = _of_two_classes(examples, positive)
        ends = {name: np.nanquantile(values, [0.025, 0.975]) for name, values in drawn.items()}
        found |= {f"test/{name}": (float(low), float(high), len(examples)) for name, (low, high) in ends.items()}
    return found


def _of_two_classes(examples: pd.DataFrame, positive: str) -> dict[str, np.ndarray]:
    """Figures of each bootstrap sample (D,) by name."""
    weights = bootstrap_weights(len(examples))
    score = examples["score"].to_numpy(dtype=float)
    truth, predicted = (examples[name].astype(str).to_numpy() == positive for name in ("target", "prediction"))
    area = auc(score, truth, weights)
    right, claimed, there = weights @ (truth & predicted), weights @ predicted, weights @ truth
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "auroc": area, "gini": 2 * area - 1, "brier": weights @ (score - truth) ** 2 / len(examples),
            "precision": right / claimed, "recall": right / there, "f1": 2 * right / (claimed + there),
        }  # fmt: skip


def _columns(signature: Any) -> list[dict[str, str]]:
    """The columns of a signature of MLflow; [] where there is none."""
    try:
        return [{"name": str(each.get("name", "")), "type": str(each["type"])} for each in signature().to_dict()]
    except Exception:  # a task or data module of the user's own need not have one
        return []
