"""Thresholds of their own for the groups of a column, such that rates of decisions are about equal between groups.

Hardt, Price and Srebro 2016 equalise rates after training, from the scores alone. Their thresholds for equalized odds
are drawn at random for each example. A decision about a person should not be, so each group has one threshold here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.slices import Slices
from lantu.decisions.decision import Profit
from lantu.errors import UserError
from lantu.notices import warn_once

RATES = ("demographic_parity", "equal_opportunity", "equalized_odds")
"""What can be equal: the share that is decided for; of those who deserve it; of those who do not as well."""
TARGETS = 200
"""Common rates that are tried."""


@dataclass
class GroupThresholds:
    """How examples are divided into groups, what is to be equal between these, and the thresholds that were found.

    Args:
        columns: of the data, whose values, joined, are the group.
        slices: of each column, as training divided it.
        equal: demographic_parity, equal_opportunity or equalized_odds.
        tolerance: largest difference of a rate between groups, on the validation split.
        least: validation examples without which a group takes the common threshold.
        thresholds: by group; empty before they are fitted.
    """

    columns: list[str]
    slices: list[Slices]
    equal: str = "demographic_parity"
    tolerance: float = 0.02
    least: int = 30
    thresholds: dict[str, float] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Everything as plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "GroupThresholds":
        """From a checkpoint."""
        return cls(**{**state, "slices": [Slices(**each) for each in state["slices"]]})

    def groups_of(self, rows: pd.DataFrame) -> np.ndarray:
        """The group (N,) of each row, a name.

        Raises:
            UserError: a column is lacking.
        """
        lacking = [each for each in self.columns if each not in rows]
        if lacking:
            raise UserError(
                f"the column `{lacking[0]}` is lacking: this model has a threshold for each group of it "
                "(`fairness.mitigation=thresholds`), so it needs the column to decide."
            )
        parts = [slices.divide(rows[name]).astype(str) for name, slices in zip(self.columns, self.slices, strict=True)]
        return np.array([" & ".join(each) for each in zip(*parts, strict=True)], dtype=object)

    def groups_in(self, data: Any, split: str, *, rows: Any) -> np.ndarray:
        """The group (N,) of examples of a split, by their numbers."""
        carried = {name: data.carried_values(split, name).iloc[list(rows)] for name in self.columns}
        return self.groups_of(pd.DataFrame(carried))

    def of(self, groups: np.ndarray, common: float) -> np.ndarray:
        """The threshold (N,) of each example by its group; the common one where the group has none."""
        return np.array([self.thresholds.get(each, common) for each in groups], dtype=np.float64)

    def fit(self, probability: np.ndarray, positive: np.ndarray, groups: np.ndarray, profit: Profit) -> None:
        """Choose the thresholds with the most profit among those with which the rates are about equal.

        Args:
            probability: (N,) of the event; positive: (N,) whether it happened; groups: (N,) names.
        """
        members = {str(name): groups == name for name in np.unique(groups.astype(str))}
        small = [name for name, inside in members.items() if inside.sum() < self.least]
        if small:
            warn_once(
                f"`fairness.mitigation=thresholds`: of {', '.join(small[:4])} validation has fewer than "
                f"`fairness.least={self.least}` examples, so the common threshold decides."
            )
        large = {name: inside for name, inside in members.items() if name not in small}
        curves = [_Curve.of(probability[inside], positive[inside], profit, self.equal) for inside in large.values()]
        common = _Curve.of(probability, positive, profit, self.equal)
        places = np.unique(np.linspace(0, len(common.thresholds) - 1, TARGETS).astype(int))
        chosen = [[each.nearest(target, self.tolerance / 2) for each in curves] for target in common.rates[places]]
        self.thresholds = {}
        if len(curves) < 2:
            return
        gaps = np.array([_largest_difference(curves, places) for places in chosen])
        gains = np.array(
            [sum(each.examples * each.profits[at] for each, at in zip(curves, row, strict=True)) for row in chosen]
        )
        allowed = gaps <= max(self.tolerance, gaps.min()) + 1e-9
        best = chosen[int(np.argmax(np.where(allowed, gains, -np.inf)))]
        if all(each.decides_alike(at) for each, at in zip(curves, best, strict=True)):
            warn_once(
                f"`fairness.constraint={self.equal}` within `fairness.tolerance={self.tolerance:g}` leaves only one "
                "decision for everybody: allow a larger tolerance, or make another rate equal."
            )
        self.thresholds = {name: float(each.thresholds[at]) for name, each, at in zip(large, curves, best, strict=True)}


@dataclass(frozen=True)
class _Curve:
    """What every threshold (T,) of a group gives."""

    thresholds: np.ndarray
    profits: np.ndarray
    """(T,), mean of an example."""
    rates: np.ndarray
    """(T, R), which are to be equal between groups."""
    examples: int

    @classmethod
    def of(cls, probability: np.ndarray, positive: np.ndarray, profit: Profit, equal: str) -> "_Curve":
        thresholds, profits = profit.curve(probability, positive)
        deserving = ~positive.astype(bool)
        parts = {
            "demographic_parity": [np.ones(len(probability), dtype=bool)],
            "equal_opportunity": [deserving],
            "equalized_odds": [deserving, ~deserving],
        }[equal]
        rates = [_share_below(probability[part], thresholds) for part in parts]
        return cls(thresholds, profits, np.stack(rates, axis=1), len(probability))

    def decides_alike(self, at: int) -> bool:
        """Whether a threshold decides for all examples, or against all."""
        return at in (0, len(self.thresholds) - 1)

    def nearest(self, target: np.ndarray, within: float) -> int:
        """The threshold with the most profit of those whose rates are within a distance of the target (R,).

        Where there is none, the one whose rates are nearest.
        """
        distance = np.abs(self.rates - target).max(axis=1)
        near = distance <= max(within, distance.min()) + 1e-12
        return int(np.argmax(np.where(near, self.profits, -np.inf)))


def _share_below(probability: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(probability), thresholds, side="left") / max(len(probability), 1)


def _largest_difference(curves: Sequence[_Curve], places: Sequence[int]) -> float:
    rates = np.stack([each.rates[at] for each, at in zip(curves, places, strict=True)])
    return float((rates.max(axis=0) - rates.min(axis=0)).max())
