"""Figures by group and their differences, with intervals of one bootstrap over all examples.

The figures are those of fairlearn's `MetricFrame` (a test compares them). Its own bootstrap evaluates every metric anew
for each sample, 38 ms a draw; here each rate is a ratio of two columns of one matrix product, 0.2 ms a draw.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lantu.decisions.scores import auc, bootstrap_weights, reliability
from lantu.responsible.fairness.permutation import p_value, shuffled_means, shuffled_rates

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
class Gap(Interval):
    """A difference or ratio between groups."""

    p: float = np.nan
    """How often shuffled groups are as far apart."""

    @classmethod
    def between(cls, draws: np.ndarray, p: float) -> "Gap":
        """From draws (D,) of which the first is of the examples themselves."""
        found = Interval.of(draws)
        return cls(found.value, found.low, found.high, p)

    def __str__(self) -> str:
        return f"{super().__str__()}, p {'not known' if np.isnan(self.p) else format(self.p, '.2g')}"


@dataclass(frozen=True)
class ByGroup:
    """The figures of each group of one column, or of an intersection of columns."""

    name: str
    """The column, or columns joined by x."""
    groups: list[str]
    counts: list[int]
    figures: dict[str, list[Interval]]
    """By metric, for each group."""
    gaps: dict[str, Gap]
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
        inside = np.isin(codes, np.array(here)[enough])
        places = np.searchsorted(np.array(here)[enough], codes[inside])
        sizes, good_sizes, hits, true_hits, right_hits = (
            each[0, enough] for each in (n, good, chosen, true_favoured, right)
        )
        by_chance = shuffled_rates(hits, sizes)
        # given the true outcome, as equal opportunity and equalized odds ask
        tpr_by_chance = shuffled_rates(true_hits, good_sizes)
        fpr_by_chance = shuffled_rates(false_favoured[0, enough], sizes - good_sizes, seed=1)
        both = np.concatenate([tpr[:1], fpr[:1]], axis=1)
        both_by_chance = np.concatenate([tpr_by_chance, fpr_by_chance], axis=1)
        right_by_chance = shuffled_rates(right_hits, sizes)
        gaps = {
            "demographic_parity_difference": Gap.between(_spread(rate), p_value(rate[0], by_chance, _spread)),
            "demographic_parity_ratio": Gap.between(
                _ratio(rate), p_value(rate[0], by_chance, lambda rates: -_ratio(rates))
            ),
            "equal_opportunity_difference": Gap.between(_spread(tpr), p_value(tpr[0], tpr_by_chance, _spread)),
            "equalized_odds_difference": Gap.between(
                _larger_spread(np.concatenate([tpr, fpr], axis=1)), p_value(both[0], both_by_chance, _larger_spread)
            ),
            "accuracy_difference": Gap.between(
                _spread(draws["accuracy"][:, enough]),
                p_value(draws["accuracy"][0, enough], right_by_chance, _spread),
            ),
        }
        if probability is not None:
            bias = draws["predicted_less_observed"][:, enough]
            shuffled = shuffled_means((probability - deserving)[inside, None], places)[..., 0]
            gaps["calibration_difference"] = Gap.between(_spread(bias), p_value(bias[0], shuffled, _spread))
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
        inside = np.isin(codes, np.array(here)[enough])
        parts = np.stack([predicted, predicted - truth, np.abs(predicted - truth), (predicted - truth) ** 2], axis=1)
        by_chance = shuffled_means(parts[inside], np.searchsorted(np.array(here)[enough], codes[inside]))
        by_chance[..., 3] = np.sqrt(by_chance[..., 3])
        gaps = {
            f"{metric}_difference": Gap.between(
                _spread(found[:, enough]), p_value(found[0, enough], by_chance[..., place], _spread)
            )
            for place, (metric, found) in enumerate(draws.items())
        }
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


def _larger_spread(rates: np.ndarray) -> np.ndarray:
    """The larger spread (D,) of two figures (D, 2 * groups), one after the other."""
    one, two = np.split(rates, 2, axis=1)
    return np.fmax(_spread(one), _spread(two))


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
