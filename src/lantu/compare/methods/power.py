"""How many seeds a question needs, and what they would cost."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lantu.compare.methods.statistics import Comparison

MOST_SEEDS = 1_000_000
"""Beyond this number of seeds the question counts as unanswerable."""
PRACTICAL_SEEDS = 1000
"""Seeds per configuration beyond which two configurations are called equal for practical purposes."""


_POINTS, _HALVES = np.polynomial.legendre.leggauss(200)
_NODES, _WEIGHTS = (_POINTS + 1) / 2, _HALVES / 2
"""Gauss-Legendre quadrature on [0, 1], over the quantiles of the estimated standard deviation."""


@dataclass(frozen=True)
class Plan:
    """What it takes to detect a difference between two groups."""

    difference: float
    seeds: int | None
    """Seeds per group; None: more than `PRACTICAL_SEEDS`, or no number of them."""
    paired: bool
    more: int | None
    """Further runs in the two groups together."""
    usd: float | None
    """What those runs would cost, at what the runs so far have cost; None where that is not known."""
    needs_examples: bool = False
    """Whether no number of seeds is enough, since the finite set of examples alone leaves the difference open."""


def power_of(effect: float, seeds: int, *, paired: bool, level: float = 0.95) -> float:
    """The chance that a two-sided t-test finds a true difference, from the noncentral t distribution.

    The distribution is a normal one whose critical value is scaled by a chi-distributed standard deviation; that is
    integrated numerically.

    Args:
        effect: the difference over its noise, see `seeds_needed`.
        seeds: per group.
        paired: a one-sample test of differences; False: a two-sample test.
        level: 1 - level is the error rate of the test.
    """
    freedom = seeds - 1 if paired else 2 * seeds - 2
    return _power(effect * math.sqrt(seeds if paired else seeds / 2), freedom, level)


def _power(shift: float, freedom: float, level: float) -> float:
    """The power of a t-test whose statistic is centred at `shift`."""
    critical = float(stats.t.isf((1 - level) / 2, freedom))
    # scipy's own nct is off by some per cent in the tails that corrections for many pairs reach
    spread = np.sqrt(stats.chi2.ppf(_NODES, freedom) / freedom)
    found = stats.norm.cdf(shift - critical * spread) + stats.norm.cdf(-shift - critical * spread)
    return float(found @ _WEIGHTS)


def seeds_needed(
    difference: float, noise: float, *, paired: bool, level: float = 0.95, power: float = 0.8, examples: float = 0.0
) -> int | None:
    """Seeds per group with which a true difference is detected with the given power; None: more than a million.

    Args:
        difference: the size of the difference, in the metric's unit.
        noise: standard deviation of differences within seeds (paired), or between the seeds of one group.
        paired: whether both groups run the same seeds.
        level: 1 - level is the error rate that is accepted.
        power: the wanted chance to find the difference if it is there.
        examples: standard error of the difference over the examples, which seeds do not reduce.
    """
    if not (difference > 0 and np.isfinite(noise)):
        return None
    if noise == 0:
        return 2

    def reached(seeds: int) -> bool:
        over_seeds = noise**2 * (1 if paired else 2) / seeds
        variance = over_seeds + examples**2
        freedom = (seeds - 1 if paired else 2 * seeds - 2) * (variance / over_seeds) ** 2  # Satterthwaite's, as tested
        return _power(difference / math.sqrt(variance), min(freedom, 1e6), level) >= power

    low, high = 1, 2
    while not reached(high):
        low, high = high, high * 2
        if low > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def plan(
    comparison: Comparison,
    groups: tuple[str, str],
    *,
    difference: float | None = None,
    usd_per_run: dict[str, float] | None = None,
    power: float = 0.8,
) -> Plan | None:
    """What it takes to tell the winner and another group apart if they truly differ by `difference`.

    None: by what was measured. The error rate is the one that is left to each pair after the correction for all pairs
    (Bonferroni's, as in the tests themselves), so that the plan and the test agree.
    """
    table = comparison.table
    compared = int((table["seeds"] > 0).sum())
    pairs = max(1, compared * (compared - 1) // 2)
    first, second = groups
    gap = abs(float(table.loc[first, "mean"] - table.loc[second, "mean"])) if difference is None else difference
    paired = table.loc[second, "how"] in ("paired", "within seeds")
    noise = float(table.loc[second, "noise"])
    noise = noise if math.isfinite(noise) else comparison.noise
    if not math.isfinite(noise) or not noise > 0 or not gap > 0:
        return None
    level = 1 - (1 - comparison.level) / pairs
    examples = float(table.loc[second, "examples"])
    if examples > 0 and _power(gap / examples, 1e6, level) < power:
        return Plan(gap, None, paired, None, None, needs_examples=True)
    needed = seeds_needed(gap, noise, paired=paired, level=level, power=power, examples=examples)
    if needed is None or needed > PRACTICAL_SEEDS:
        return Plan(gap, None, paired, None, None)
    missing = {name: max(0, needed - int(table.loc[name, "seeds"])) for name in groups}
    usd = None
    if usd_per_run and all(math.isfinite(usd_per_run.get(name, math.nan)) for name in groups):
        usd = sum(missing[name] * usd_per_run[name] for name in groups)
    return Plan(gap, needed, paired, sum(missing.values()), usd)
