"""Quality against cost: who is not beaten on both, and the cheapest that is as good as the best."""

import re
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from lantu.compare.methods.statistics import Comparison
from lantu.metric_direction import direction

COSTS = (
    "cost/usd",
    "cost/kwh",
    "cost/co2e_kg",
    "cost/device_hours",
    "model/parameters",
    "speed/latency_ms",
)
"""What a configuration may cost, the most telling first."""
PRICES = re.compile(r"privacy/epsilon|fairness/.+/(demographic_parity|equal_opportunity|equalized_odds)_difference")
"""Metrics that quality is traded for as well: privacy, and differences between groups of people."""


def front(points: pd.DataFrame, modes: dict[str, str] | None = None) -> pd.Series:
    """Which rows no other row beats: at least as good everywhere, and better somewhere.

    Args:
        points: a column per metric; rows with a missing value are not on the front.
        modes: "min" or "max" by column; by the metrics' names where not given. Any number of columns.
    """
    signs = [1.0 if ((modes or {}).get(str(name)) or direction(str(name))) == "min" else -1.0 for name in points]
    values = points.to_numpy(dtype=float) * signs
    known = np.isfinite(values).all(axis=1)
    on = np.zeros(len(values), dtype=bool)
    if values.shape[1] == 2:
        rows = np.flatnonzero(known)
        rows = rows[np.lexsort((values[rows, 1], values[rows, 0]))]
        lowest = np.minimum.accumulate(values[rows, 1])
        on[rows[:1]] = True
        for before, (previous, row) in enumerate(pairwise(rows)):
            twin = on[previous] and (values[row] == values[previous]).all()
            on[row] = twin or values[row, 1] < lowest[before]
        return pd.Series(on, index=points.index)
    for row in np.flatnonzero(known):
        no_worse = (values[known] <= values[row]).all(axis=1)
        on[row] = not (no_worse & (values[known] < values[row]).any(axis=1)).any()
    return pd.Series(on, index=points.index)


def hypervolume(points: pd.DataFrame, modes: dict[str, str] | None = None) -> float:
    """The share of the box between the best and the worst value of each column that the points dominate (Zitzler 1999).

    Args:
        points: a column per metric; rows with a missing value do not count.
        modes: as in `front`.
    """
    scaled = _scaled(points, points, modes)
    return _volume(scaled[front(points, modes).to_numpy()])  # the others dominate nothing more, and may be thousands


def knee(points: pd.DataFrame, modes: dict[str, str] | None = None) -> str | None:
    """The row of a front that is furthest below the plane through the best of each column (Das 1999).

    There a gain in one column costs most in the others. None where no row is below it, or there are fewer than three.

    Args:
        points: the front alone, a column per metric.
    """
    if len(points) < 3:
        return None
    total = _scaled(points, points, modes).sum(axis=1)
    least = int(np.nanargmin(total))
    return str(points.index[least]) if total[least] < 1 - 1e-9 else None


def _scaled(points: pd.DataFrame, among: pd.DataFrame, modes: dict[str, str] | None) -> np.ndarray:
    """Values from 0 (the best) to 1 (the worst) of each column."""
    signs = [1.0 if ((modes or {}).get(str(name)) or direction(str(name))) == "min" else -1.0 for name in points]
    values, all_values = points.to_numpy(dtype=float) * signs, among.to_numpy(dtype=float) * signs
    low, high = np.nanmin(all_values, axis=0), np.nanmax(all_values, axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def _volume(values: np.ndarray) -> float:
    """What points in the unit cube dominate, less being better: slices along the first axis, each a volume."""
    if not len(values):
        return 0.0
    if values.shape[1] == 1:
        return float(max(0.0, 1.0 - values[:, 0].min()))
    order = values[np.argsort(values[:, 0], kind="stable")]
    edges = np.append(order[:, 0], 1.0)
    return float(
        sum(
            (edges[at + 1] - edges[at]) * _volume(order[: at + 1, 1:])
            for at in range(len(order))
            if edges[at + 1] > edges[at]
        )
    )


def cheapest_alike(comparison: Comparison, cost: pd.Series, group: pd.Series) -> str | None:
    """The cheapest group that performs about as well as the best; None where the cost or the noise is not known.

    It performs about as well: it is statistically tied with the best, it was run with two seeds at least, no more of
    its runs failed, and its mean is no further from the best than a single run of the two is from its own group's
    mean. Without the last, a configuration that is clearly worse would pass wherever the seeds are too few to prove
    it. And its cost has to be lower beyond its own noise (Welch's test at 5%): runs of one size differ in time and
    money by what else the machine did.

    Args:
        comparison: the groups.
        cost: of every run.
        group: label by run.
    """
    if not comparison.tested:
        return None
    table, winner = comparison.table, comparison.winner
    if comparison.pooling == "shared":
        noise = pd.Series(comparison.noise, index=table.index)
    else:
        noise = np.sqrt((table["sd"] ** 2 + table.loc[winner, "sd"] ** 2) / 2)
    near = table["alike"] & (table["seeds"] >= 2) & (table["difference"].abs() <= noise)
    near &= table["failed"] <= table.loc[winner, "failed"]
    wanted = {winner, *table.index[near]}  # of twenty thousand groups a few
    costs = {str(name): part.dropna().to_numpy(dtype=float) for name, part in cost[group.isin(wanted)].groupby(group)}
    if not len(costs.get(winner, ())):
        return None
    cheaper = [winner]
    cheaper += [str(name) for name in table.index[near] if _surely_less(costs.get(str(name)), costs[winner])]
    return min(cheaper, key=lambda name: float(costs[name].mean()))


def _surely_less(one: np.ndarray | None, other: np.ndarray) -> bool:
    if one is None or len(one) < 2 or len(other) < 2 or not one.mean() < other.mean():
        return False
    if one.std() == 0 and other.std() == 0:
        return True
    return bool(stats.ttest_ind(one, other, equal_var=False, alternative="less").pvalue < 0.05)


def available_costs(means: pd.DataFrame) -> list[str]:
    """The cost metrics that the runs have and in which they differ."""
    found = [name for name in COSTS if name in means and means[name].notna().any()]
    return [name for name in found if means[name].nunique() > 1]


def prices(means: pd.DataFrame) -> list[str]:
    """Epsilon and differences between groups, in which the runs differ."""
    return sorted(name for name in map(str, means) if PRICES.fullmatch(name) and means[name].nunique() > 1)


def telling_costs(means: pd.DataFrame) -> list[str]:
    """The same without those that order the configurations as one before them does: energy where money follows it."""
    kept: list[str] = []
    for name in available_costs(means):
        ranks = means[name].rank()
        if all(ranks.corr(means[other].rank()) < 0.99 for other in kept):
            kept.append(name)
    return kept
