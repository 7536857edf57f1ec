"""Scores of filled slots."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class SlotScores(Metric):
    """Micro-averaged precision, recall and F1 of filled slots, exact match, and the accuracy of each slot.

    Args:
        names: of the slots, for `accuracy_NAME`; empty: those are left out.
    """

    full_state_update = False
    counts: Tensor
    exact: Tensor
    seen: Tensor
    right: Tensor

    def __init__(self, names: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.names = names
        self.parts = (
            "slot_f1",
            "slot_precision",
            "slot_recall",
            "exact_match",
            *(f"accuracy_{name}" for name in names),
        )
        self.add_state("counts", default=torch.zeros(3, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("right", default=torch.zeros(max(len(names), 1), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("exact", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("seen", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, right: Tensor, predicted: Tensor, filled: Tensor) -> None:
        """Add recordings, as `SlotFilling.judged` gives them: (N, slots) each."""
        hits = right & predicted & filled
        self.counts += torch.stack([hits.sum(), predicted.sum(), filled.sum()])
        self.right += right.sum(0) if self.names else 0
        self.exact += right.all(1).sum()
        self.seen += len(right)

    def compute(self) -> dict[str, Tensor]:
        hits, predicted, filled = self.counts.double()
        found = {
            "slot_f1": 2 * hits / (predicted + filled).clamp(min=1),
            "slot_precision": hits / predicted.clamp(min=1),
            "slot_recall": hits / filled.clamp(min=1),
            "exact_match": self.exact.double() / self.seen.clamp(min=1),
        }
        shares = self.right.double() / self.seen.clamp(min=1)
        found |= {f"accuracy_{name}": share for name, share in zip(self.names, shares, strict=False)}
        return {name: value.float() for name, value in found.items()}
