"""Figures by group and their differences, with intervals of one bootstrap over all examples.

The figures are those of fairlearn's `MetricFrame` (a test compares them). Its own bootstrap evaluates every metric anew
for each sample, 38 ms a draw; here each rate is a ratio of two columns of one matrix product, 0.2 ms a draw.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lantu.decisions.scores import auc, bootstrap_weights, reliability

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: np.ndarray) -> "Interval":
        """From draws (D,) of which the first is of the examples themselves."""
        drawn = draws[1:][np.isfinite(draws[1:])]
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(drawn) else (np.nan, np.nan)
        return cls(float(draws[0]), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class ByGroup:
    """The figures of each group of one column, or of an intersection of columns."""

    name: str
    """The column, or columns joined by x."""
    groups: list[str]
    counts: list[int]
    figures: dict[str, list[Interval]]
    """By metric, for each group."""
    gaps: dict[str, Interval]
    """Differences and ratios between the groups that are large enough."""
    too_small: list[str] = field(default_factory=list)
    """Groups that the gaps leave out."""
    target: str = ""
    """The target whose figures these are, where there are several."""

    @property
    def key(self) -> str:
        """The column, and the target if there are several, as in the names of metrics and files."""
        column = self.name.replace(" ", "_")
        return f"{column}/{self.target.replace(' ', '_')}" if self.target else column

    @property
    def title(self) -> str:
        """The same for a person."""
        return f"{self.target} by {self.name}" if self.target else f"by {self.name}"

    def table(self) -> dict[str, list[Any]]:
        """Columns with a row for each group."""
        rows: dict[str, list[Any]] = {"column": [self.name] * len(self.groups), "group": list(self.groups)}
        rows["examples"] = list(self.counts)
        for metric, found in self.figures.items():
            rows[metric] = [_plain(each.value) for each in found]
            rows[f"{metric}_low"] = [_plain(each.low) for each in found]
            rows[f"{metric}_high"] = [_plain(each.high) for each in found]
        return rows


def of_decisions(
    name: str,
    codes: np.ndarray,
    groups: list[str],
    *,
    favoured: np.ndarray,
    deserving: np.ndarray,
    probability: np.ndarray | None = None,
    least: int = 30,
) -> ByGroup:
    """Figures of yes-or-no decisions by group.

    Args:
        codes: the group (N,) of each example, a place in `groups`.
        favoured: (N,) whether the favourable decision was made.
        deserving: (N,) whether the favourable outcome is the true one.
        probability: (N,) of the favourable outcome; None: no calibration and no AUROC.
        least: examples that a group needs to count in the differences.
    """
    here = [place for place in range(len(groups)) if (codes == place).any()]
    member = np.stack([codes == place for place in here], axis=1).astype(np.float32)
    f, d = favoured.astype(np.float32)[:, None], deserving.astype(np.float32)[:, None]
    weights = _with_the_sample_itself(len(codes))
    n, chosen, good, right = (weights @ (member * part) for part in (1.0, f, d, f * d + (1 - f) * (1 - d)))
    true_favoured, false_favoured = weights @ (member * f * d), weights @ (member * f * (1 - d))
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = {
            "selection_rate": chosen / n,
            "true_positive_rate": true_favoured / good,
            "false_positive_rate": false_favoured / (n - good),
            "accuracy": right / n,
            "base_rate": good / n,
        }
        if probability is not None:
            p = probability.astype(np.float32)[:, None]
            draws["predicted_less_observed"] = (weights @ (member * (p - d))) / n
            draws["auroc"] = np.stack(
                [_auc_of(probability, deserving, member[:, each] > 0, weights) for each in range(len(here))], axis=1
            )
    counts = [int(each) for each in n[0]]
    enough = np.array(counts) >= least
    gaps = {}
    if enough.sum() > 1:
        rate, tpr, fpr = (
            draws[metric][:, enough] for metric in ("selection_rate", "true_positive_rate", "false_positive_rate")
        )
        gaps = {
            "demographic_parity_difference": Interval.of(_spread(rate)),
            "demographic_parity_ratio": Interval.of(_ratio(rate)),
            "equal_opportunity_difference": Interval.of(_spread(tpr)),
            "equalized_odds_difference": Interval.of(np.fmax(_spread(tpr), _spread(fpr))),
            "accuracy_difference": Interval.of(_spread(draws["accuracy"][:, enough])),
        }
        if probability is not None:
            gaps["calibration_difference"] = Interval.of(_spread(draws["predicted_less_observed"][:, enough]))
    figures = {metric: [Interval.of(found[:, each]) for each in range(len(here))] for metric, found in draws.items()}
    if probability is not None:
        figures["ece"] = [_ece(probability, deserving, codes == place) for place in here]
    names = [groups[place] for place in here]
    small = [group for group, fits in zip(names, enough, strict=True) if not fits]
    return ByGroup(name, names, counts, figures, gaps, small)


def of_numbers(
    name: str,
    codes: np.ndarray,
    groups: list[str],
    *,
    predicted: np.ndarray,
    truth: np.ndarray,
    least: int = 30,
    target: str = "",
) -> ByGroup:
    """Figures of predicted quantities (N,) by group: mean prediction, mean error (predicted less true), MAE and RMSE.

    Args:
        target: its name, where there are several.
    """
    here = [place for place in range(len(groups)) if (codes == place).any()]
    member = np.stack([codes == place for place in here], axis=1).astype(np.float64)
    weights = _with_the_sample_itself(len(codes)).astype(np.float64)
    error, n = (predicted - truth)[:, None], weights @ member
    draws = {
        "mean_prediction": (weights @ (member * predicted[:, None])) / n,
        "mean_error": (weights @ (member * error)) / n,
        "mae": (weights @ (member * np.abs(error))) / n,
        "rmse": np.sqrt((weights @ (member * error**2)) / n),
    }
    counts = [int(each) for each in n[0]]
    enough = np.array(counts) >= least
    gaps = {}
    if enough.sum() > 1:
        gaps = {f"{metric}_difference": Interval.of(_spread(found[:, enough])) for metric, found in draws.items()}
    figures = {metric: [Interval.of(found[:, each]) for each in range(len(here))] for metric, found in draws.items()}
    names = [groups[place] for place in here]
    small = [group for group, fits in zip(names, enough, strict=True) if not fits]
    return ByGroup(name, names, counts, figures, gaps, small, target)


def intersection(columns: dict[str, Any]) -> tuple[str, np.ndarray, list[str]]:
    """Name, codes (N,) and groups of all columns together.

    Args:
        columns: by name, the group of every example as a pandas Categorical.
    """
    parts = [np.asarray(found.categories, dtype=object)[np.asarray(found.codes)] for found in columns.values()]
    joined = np.array([" & ".join(map(str, each)) for each in zip(*parts, strict=True)], dtype=object)
    groups, codes = np.unique(joined.astype(str), return_inverse=True)
    return " x ".join(columns), codes, [str(each) for each in groups]


def _with_the_sample_itself(examples: int) -> np.ndarray:
    return np.concatenate([np.ones((1, examples), dtype=np.float32), bootstrap_weights(examples)])


def _spread(rates: np.ndarray) -> np.ndarray:
    """Largest less smallest (D,) of rates (D, groups); unknown ones are passed over."""
    return np.fmax.reduce(rates, axis=1) - np.fmin.reduce(rates, axis=1)


def _ratio(rates: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.fmin.reduce(rates, axis=1) / np.fmax.reduce(rates, axis=1)


def _auc_of(probability: np.ndarray, truth: np.ndarray, inside: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if len(np.unique(truth[inside])) < 2:
        return np.full(len(weights), np.nan)
    return auc(probability[inside], truth[inside].astype(int), weights[:, inside])


def _ece(probability: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> Interval:
    if inside.sum() < 20:
        return Interval(np.nan, np.nan, np.nan)
    curve = reliability(probability[inside], truth[inside].astype(float))
    return Interval(curve.ece, *curve.interval)


def _plain(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 5)
