"""Decide by a threshold that pays, chosen on the validation split alone, and give reasons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.decisions.attribution import integrated_gradients
from lantu.decisions.fitted import Fitted
from lantu.errors import UserError

OUTCOMES = ("true_negative", "false_negative", "false_positive", "true_positive")
HOW = ("validation", "theory")


@dataclass(frozen=True)
class Profit:
    """What one decision earns, by what turned out. Positive is the event that the model predicts, such as a default.

    An example whose probability is below the threshold is decided for (a loan is granted), others against.
    """

    true_negative: float
    """Decided for, and the event did not happen."""
    false_negative: float
    """Decided for, and it happened."""
    false_positive: float
    """Decided against, and it would not have happened."""
    true_positive: float
    """Decided against, and it would have happened."""

    def of(self, probability: np.ndarray, positive: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
        """The profit (N,) of each decision; the threshold may be (N,), one for each example."""
        against = probability >= threshold
        if_positive = np.where(against, self.true_positive, self.false_negative)
        if_negative = np.where(against, self.false_positive, self.true_negative)
        return np.where(positive.astype(bool), if_positive, if_negative)

    def curve(self, probability: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every threshold that decides differently (T,), rising, and the mean profit (T,) of each.

        The first decides against all, the last for all; those between lie midway between two probabilities.
        """
        order = np.argsort(probability, kind="stable")
        p, y = probability[order], positive[order].astype(float)
        gains = np.where(
            y == 1, self.false_negative - self.true_positive, self.true_negative - self.false_positive
        )  # of deciding for it
        against_all = np.where(y == 1, self.true_positive, self.false_positive).sum()
        last = np.flatnonzero(np.append(np.diff(p) > 0, True))
        between = (p[last[:-1]] + p[np.minimum(last[:-1] + 1, len(p) - 1)]) / 2
        thresholds = np.concatenate([[0.0], between, [np.nextafter(1.0, 2.0)]])
        return thresholds, (against_all + np.concatenate([[0.0], np.cumsum(gains)[last]])) / len(p)

    def theoretical(self) -> float:
        """The threshold that pays best where probabilities are right (Elkan 2001)."""
        for_negative = self.true_negative - self.false_positive
        against_positive = self.true_positive - self.false_negative
        return for_negative / (for_negative + against_positive)


class Decision(Fitted):
    """A threshold on the probability of the positive class, and the reasons for deciding against an example.

    Args:
        profit: of a decision, by what turned out: the four values of `Profit`.
        actions: what to call deciding for an example, and against it.
        threshold: validation: the one with the most profit on the validation split; theory: the one that follows from
            the profits where probabilities are calibrated; or a probability of your own.
        reasons: how many are given at most; 0: none.
        reason_texts: the sentence for a column, instead of its name.
        columns: for each feature the column of the table that it comes from; None: no table, and no reasons.
    """

    def __init__(
        self,
        *,
        profit: dict[str, float],
        actions: list[str] | None = None,
        threshold: str | float = "validation",
        reasons: int = 4,
        reason_texts: dict[str, str] | None = None,
        columns: list[str] | None = None,
    ) -> None:
        # of the features (F,) the mean of the validation examples that are decided for, to which reasons compare
        super().__init__(threshold=0.5, reference=[])
        self.profit = _checked(profit)
        self.actions = actions or ["accept", "reject"]
        if len(self.actions) != 2 or len(set(self.actions)) != 2:
            raise UserError(f"`business.actions={self.actions}`: two different names, for and against an example.")
        if isinstance(threshold, str) and threshold not in HOW:
            raise UserError(f"`business.threshold={threshold}`: validation, theory, or a probability.")
        self.chosen_by = threshold
        self.reason_texts = dict(reason_texts or {})
        self.columns = list(dict.fromkeys(columns or []))
        """Of the table, in their order."""
        unknown = sorted(set(self.reason_texts) - set(self.columns)) if columns else []
        if unknown:
            raise UserError(f"`business.reason_texts.{unknown[0]}`: the inputs have no column of that name.")
        self.reasons = min(reasons, len(self.columns))
        self._column_of_feature = [self.columns.index(each) for each in columns or []]
        self.fitted["threshold"] = torch.tensor(0.5 if isinstance(threshold, str) else threshold, dtype=torch.float64)
        self.by_group: dict[str, Any] | None = None
        """Thresholds of groups as plain values (`lantu.tasks.group_thresholds`); None: one for all."""

    @property
    def threshold(self) -> float:
        """The probability of the positive class from which an example is decided against."""
        return float(self.fitted["threshold"])

    def fit(self, probability: np.ndarray, positive: np.ndarray, inputs: Tensor | None) -> None:
        """Choose the threshold, and learn whom reasons compare to.

        Args:
            probability: (N,) of the positive class; positive: (N,) whether it was so; of the validation split.
            inputs: features (N, F); None: no reasons.
        """
        threshold = self.threshold
        if self.chosen_by == "theory":
            threshold = self.profit.theoretical()
        elif self.chosen_by == "validation":
            thresholds, profits = self.profit.curve(probability, positive)
            threshold = float(thresholds[np.argmax(profits)])
        self.keep(len(probability), threshold=threshold)
        if self.reasons and inputs is not None:
            decided_for = probability < threshold
            kept = inputs[torch.from_numpy(decided_for)] if decided_for.any() else inputs
            self.keep(len(probability), reference=kept.float().mean(dim=0))

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), **({} if self.by_group is None else {"by_group": self.by_group})}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        values = dict(state)
        self.by_group = values.pop("by_group", None)
        super().set_extra_state(values)

    def against(self, probability: Tensor) -> Tensor:
        """Whether each of (N,) probabilities of the positive class is decided against, by the common threshold."""
        return probability.double() >= self.threshold

    def attribute(self, score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor | None:
        """What each column (N, columns) adds to a score, compared with the mean example that is decided for.

        Args:
            score: from features (N, F) to log-odds (N,) of the positive class.
            x: features (N, F).
        """
        reference = self.value("reference", x)
        if not self.reasons or x.ndim != 2 or x.shape[1] != len(reference):
            return None
        by_feature = integrated_gradients(score, x, reference)
        columns = torch.tensor(self._column_of_feature, device=x.device)
        return torch.zeros(len(x), len(self.columns), device=x.device).index_add_(1, columns, by_feature)

    def named(self, attribution: np.ndarray, against: np.ndarray) -> dict[str, list[str]]:
        """Columns `reason_1`, ... with the names of what speaks most against an example; empty where it is decided for.

        Args:
            attribution: (N, columns); against: (N,) truth values.
        """
        order = np.argsort(-attribution, axis=1, kind="stable")[:, : self.reasons]
        names = [self.reason_texts.get(each, each) for each in self.columns]
        return {
            f"reason_{rank + 1}": [
                names[place] if refused and row[place] > 0 else ""
                for place, refused, row in zip(order[:, rank], against, attribution, strict=True)
            ]
            for rank in range(self.reasons)
        }


def _checked(profit: Mapping[str, float]) -> Profit:
    unknown = sorted(set(profit) ^ set(OUTCOMES))
    if unknown:
        raise UserError(f"`business.profit`: it has {', '.join(OUTCOMES)}, each once; see `{unknown[0]}`.")
    found = Profit(**{name: float(value) for name, value in profit.items()})
    if not (found.true_negative > found.false_positive and found.true_positive > found.false_negative):
        raise UserError(
            "`business.profit`: a right decision must earn more than the wrong one (true_negative more than "
            "false_positive, true_positive more than false_negative); otherwise one action is always the better one."
        )
    return found
