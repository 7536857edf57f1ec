"""Training that narrows the gap between groups: weights of examples, or a term in the loss."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from lantu.errors import UserError

CONSTRAINTS = ("demographic_parity", "equalized_odds")


class GroupedExamples(Dataset):
    """Training examples whose class numbers carry the group: class + classes * group. The loss takes them apart.

    Args:
        examples: with `__getitems__`, whose targets are class numbers (N,).
        groups: of each example (N,).
    """

    def __init__(self, examples: Any, groups: np.ndarray, *, classes: int) -> None:
        self.examples = examples
        self.groups = torch.from_numpy(groups.astype(np.int64))
        self.classes = classes

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: list[int]) -> tuple[Any, Tensor]:
        x, y = self.examples.__getitems__(indices)
        if not isinstance(y, Tensor) or y.ndim != 1 or y.is_floating_point():
            raise UserError("`fairness.mitigation` needs training targets that are class numbers, one an example.")
        return x, y + self.classes * self.groups[indices]


class Mitigation:
    """The training loss of a classifier that is told the group of every training example, and of no other.

    Args:
        classes: how many.
        weights: (groups, classes) of the examples, of mean 1; None: all equal.
        constraint: what is to be equal between groups: demographic_parity or equalized_odds; None: nothing.
        strength: weight of the constraint beside the loss.
    """

    def __init__(
        self, *, classes: int, weights: np.ndarray | None = None, constraint: str | None = None, strength: float = 0.0
    ) -> None:
        self.classes = classes
        self.weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))
        self.constraint = constraint
        self.strength = strength

    def apart(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Class numbers (N,) and groups (N,) of targets that carry both."""
        return y % self.classes, y // self.classes

    def loss(self, output: Tensor, y: Tensor, groups: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean loss of a batch.

        Args:
            output: logits (N, classes); y: class numbers (N,); groups: (N,).
        """
        each = F.cross_entropy(output, y, label_smoothing=label_smoothing, reduction="none")
        if self.weights is not None:
            each = each * self.weights.to(output.device)[groups, y]
        loss = each.mean()
        if self.constraint is None or not self.strength:
            return loss
        p = output.float().softmax(dim=-1)[:, -1]
        parts = (
            [groups >= 0] if self.constraint == "demographic_parity" else [y == each for each in range(self.classes)]
        )
        return loss + self.strength * torch.stack([_between(p[part], groups[part]) for part in parts]).sum()


def reweighing(y: np.ndarray, groups: np.ndarray, *, classes: int) -> np.ndarray:
    """Weights (groups, classes) that make group and class independent (Kamiran and Calders 2012)."""
    table = np.zeros((int(groups.max()) + 1, classes))
    np.add.at(table, (groups, y), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return np.divide(expected, table, out=np.ones_like(table), where=table > 0)


def _between(p: Tensor, groups: Tensor) -> Tensor:
    """The spread of the groups' mean probabilities: the variance between groups, as a share of the largest possible."""
    if not len(p):
        return p.sum()
    mean, total = p.mean(), p.new_zeros(())
    for group in groups.unique():
        part = p[groups == group]
        total = total + len(part) / len(p) * (part.mean() - mean) ** 2
    return total / (mean * (1 - mean)).clamp(min=1e-4).detach()
