"""Metrics of examples with any number of labels, over what is known of each label."""

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class MultiLabelScores(Metric):
    """AUROC, average precision and F1 of each label, and their means over the labels.

    `compute` gives `map`, `auroc` and `f1`, means over the labels that can be measured; `f1_micro`, over all decisions
    at once; `accuracy`, the share of right decisions; `exact_match`, the share of examples whose labels are all right;
    and `auroc_LABEL`, `ap_LABEL`, `f1_LABEL`. Without an example that has a label it has none of these; without one
    that lacks it, it has no AUROC.

    Args:
        label_names: in the order of their numbers.
        threshold: the probability from which a label is predicted.
    """

    full_state_update = False
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, label_names: list[str], *, threshold: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.label_names = list(label_names)
        self.threshold = threshold
        means = ["map", "auroc", "f1", "f1_micro", "accuracy", "exact_match"]
        self.parts = [*means, *(f"{name}_{plain(label)}" for label in label_names for name in ("auroc", "ap", "f1"))]
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Count a batch: probabilities (N, labels), and targets (N, labels) of 1, 0 or NaN (unknown)."""
        self.probabilities.append(probabilities.detach().float())
        self.targets.append(targets.detach().float())

    def compute(self) -> dict[str, Tensor]:
        p, y = (dim_zero_cat(each).cpu().numpy() for each in (self.probabilities, self.targets))
        found = overall(p, y, threshold=self.threshold)
        table = by_label(p, y, self.label_names, threshold=self.threshold)
        for key, name in (("average_precision", "map"), ("auroc", "auroc"), ("f1", "f1")):
            known = [value for value in table[key] if not np.isnan(value)]
            if known:
                found[name] = float(np.mean(known))
        for number, label in enumerate(self.label_names):
            for key, name in (("auroc", "auroc"), ("average_precision", "ap"), ("f1", "f1")):
                if not np.isnan(table[key][number]):
                    found[f"{name}_{plain(label)}"] = table[key][number]
        return {name: torch.tensor(value, device=self.device) for name, value in found.items()}


def overall(p: np.ndarray, y: np.ndarray, *, threshold: float) -> dict[str, float]:
    """`accuracy`, `exact_match` and `f1_micro` of probabilities and targets (N, labels); the unknown is no mistake."""
    known = ~np.isnan(y)
    right = (p >= threshold) == (y == 1)
    found = {"accuracy": float(right[known].mean()), "exact_match": float((right | ~known).all(axis=1).mean())}
    hits, predicted, there = ((p >= threshold) & (y == 1)).sum(), ((p >= threshold) & known).sum(), (y == 1).sum()
    return {**found, "f1_micro": float(2 * hits / (predicted + there))} if there else found


def by_label(p: np.ndarray, y: np.ndarray, names: list[str], *, threshold: float) -> dict[str, list[Any]]:
    """For each label a row: how many examples have it, of how many it is known, AUROC, average precision, F1.

    NaN stands for what the examples cannot tell.
    """
    from sklearn import metrics

    table: dict[str, list[Any]] = {key: [] for key in ("label", "have", "known", "auroc", "average_precision", "f1")}
    for number, name in enumerate(names):
        known = ~np.isnan(y[:, number])
        truth, score = y[known, number] == 1, p[known, number]
        two = 0 < truth.sum() < len(truth)
        predicted = score >= threshold
        values = (
            name,
            int(truth.sum()),
            int(known.sum()),
            float(metrics.roc_auc_score(truth, score)) if two else float("nan"),
            float(metrics.average_precision_score(truth, score)) if truth.any() else float("nan"),
            float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())) if truth.any() else float("nan"),
        )
        for key, value in zip(table, values, strict=True):
            table[key].append(value)
    return table


def plain(label: str) -> str:
    """A label in the letters that MLflow allows in the name of a metric."""
    return re.sub(r"[^\w.\- ]", "_", label)
