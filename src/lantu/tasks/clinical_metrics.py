"""Metrics for two classes as clinical studies report them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.classification import BinaryAUROC, BinaryROC
from torchmetrics.utilities.data import dim_zero_cat

from lantu.errors import UserError

NAN = float("nan")


class SensitivityAtSpecificity(BinaryROC):
    """The largest share of the positives that is found at a threshold where specificity is at least so large.

    Args:
        min_specificity: share of the negatives that must be told as such.
    """

    higher_is_better = True

    def __init__(self, min_specificity: float = 0.9, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= min_specificity <= 1:
            raise UserError(f"`min_specificity={min_specificity}` is a share, 0 to 1.")
        self.min_specificity = min_specificity

    def compute(self) -> Tensor:
        target = dim_zero_cat(self.target)
        if target.min() == target.max():
            return torch.full((), NAN, device=target.device)
        false_positive, true_positive, _ = super().compute()
        return true_positive[1 - false_positive >= self.min_specificity - 1e-9].max()


class AUROCInterval(BinaryAUROC):
    """The ends of a confidence interval of the area under the ROC curve: `auroc_low` and `auroc_high`.

    By DeLong et al. (1988), on the scale of the logit, so that it stays inside 0 and 1. It assumes that examples are
    independent: where several are of one patient, the interval is too narrow.

    Args:
        level: of the interval.
    """

    higher_is_better = None
    parts = ("auroc_low", "auroc_high")
    """The names that `compute` gives."""

    def __init__(self, level: float = 0.95, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < level < 1:
            raise UserError(f"`level={level}` of an interval lies between 0 and 1.")
        self.level = level

    def compute(self) -> dict[str, Tensor]:
        scores, target = (dim_zero_cat(each).cpu().numpy() for each in (self.preds, self.target))
        if target.min() == target.max():
            return {}
        _, low, high = delong_interval(scores.astype(float), target.astype(bool), level=self.level)
        return {"auroc_low": torch.tensor(low), "auroc_high": torch.tensor(high)}


def delong_interval(scores: np.ndarray, target: np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """The area under the ROC curve and the ends of its interval.

    DeLong's variance, computed by midranks as Sun and Xu (2014) do.

    Args:
        scores: (N,); target: whether each is positive (N,), both kinds present.
    """
    from scipy.stats import norm, rankdata

    positive, negative = scores[target], scores[~target]
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    of_positive = (ranks[:m] - rankdata(positive)) / n
    of_negative = 1 - (ranks[m:] - rankdata(negative)) / m
    area = float(of_positive.mean())
    spread = [each.var(ddof=1) / len(each) if len(each) > 1 else NAN for each in (of_positive, of_negative)]
    if not 0 < area < 1:  # nothing is known of the spread where all pairs are in order
        return area, NAN, NAN
    logit, error = np.log(area / (1 - area)), float(np.sqrt(sum(spread))) / (area * (1 - area))
    reach = float(norm.ppf((1 + level) / 2)) * error
    low, high = (1 / (1 + np.exp(-each)) for each in (logit - reach, logit + reach))
    return area, float(low), float(high)
