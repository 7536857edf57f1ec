"""Metrics that are NaN where a split cannot tell them, instead of torchmetrics' 0 or an error.

The recall of a class that no row has is unknown, and so is its part of a macro mean: 0 would be read as "bad".
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryF1Score,
    BinaryRecall,
    MulticlassAUROC,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.regression import R2Score
from torchmetrics.utilities.data import dim_zero_cat

NAN = float("nan")


class _NeedsPositives:
    """Recall and F1: unknown while no example is positive."""

    tp: Tensor
    fn: Tensor

    def compute(self) -> Tensor:
        value = super().compute()  # type: ignore[misc]
        return torch.where(self.tp + self.fn > 0, value, NAN)


class Recall(_NeedsPositives, BinaryRecall):
    """The share of the positives that were found; NaN without any."""


class F1(_NeedsPositives, BinaryF1Score):
    """The harmonic mean of precision and recall; NaN without positives."""


class AUROC(BinaryAUROC):
    """The area under the ROC curve; NaN unless there are positives and negatives."""

    def compute(self) -> Tensor:
        target = dim_zero_cat(self.target)
        if target.min() == target.max():
            return torch.full((), NAN, device=target.device)
        return super().compute()


class AveragePrecision(BinaryAveragePrecision):
    """The area under the precision-recall curve; NaN without positives."""

    def compute(self) -> Tensor:
        target = dim_zero_cat(self.target)
        if not bool((target == 1).any()):
            return torch.full((), NAN, device=target.device)
        return super().compute()


class Gini(AUROC):
    """Gini coefficient of a score: 2 AUROC - 1, also known as accuracy ratio or Somers' D."""

    def compute(self) -> Tensor:
        return 2 * super().compute() - 1


class KS(AUROC):
    """Kolmogorov-Smirnov distance: the largest gap between the shares of positives and negatives above a score."""

    plot_upper_bound = 1.0

    def compute(self) -> Tensor:
        target = dim_zero_cat(self.target)
        if target.min() == target.max():
            return torch.full((), NAN, device=target.device)
        order = dim_zero_cat(self.preds).argsort(descending=True, stable=True)
        score, y = dim_zero_cat(self.preds)[order], target[order].double()
        last = torch.cat([score[1:] != score[:-1], torch.ones(1, dtype=torch.bool, device=score.device)])
        gap = y.cumsum(0) / y.sum() - (1 - y).cumsum(0) / (1 - y).sum()
        return gap[last].max().clamp(min=0).float()


class _OverPresentClasses:
    """The macro mean over the classes that some example has."""

    tp: Tensor
    fn: Tensor

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(classes, average="none", **options)  # type: ignore[call-arg]

    def compute(self) -> Tensor:
        return super().compute()[self.tp + self.fn > 0].mean()  # type: ignore[misc]


class MacroPrecision(_OverPresentClasses, MulticlassPrecision):
    """Mean precision over the classes that occur."""


class MacroRecall(_OverPresentClasses, MulticlassRecall):
    """Mean recall over the classes that occur."""


class MacroF1(_OverPresentClasses, MulticlassF1Score):
    """Mean F1 over the classes that occur."""


class MacroAUROC(MulticlassAUROC):
    """Mean one-against-rest AUROC over the classes that some, and not all, examples have; NaN without any."""

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(classes, average="none", **options)

    def compute(self) -> Tensor:
        target = dim_zero_cat(self.target)
        counts = torch.bincount(target, minlength=int(self.num_classes))
        known = (counts > 0) & (counts < len(target))
        if not known.any():
            return torch.full((), NAN, device=target.device)
        return super().compute()[known].mean()


class R2(R2Score):
    """The share of the variance that is explained; NaN unless at least two targets differ."""

    def compute(self) -> Tensor:
        variation = self.sum_squared_error - self.sum_error**2 / self.total.clamp(min=1)
        if self.total < 2 or bool((variation <= 0).any()):
            return torch.full((), NAN, device=self.sum_error.device)
        return super().compute()
