"""How many more seeds a question needs, and what they would cost."""

import math
from dataclasses import dataclass

import numpy as np

from lantu.compare.methods.statistics import Comparison

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Plan:
    """What it takes to see a difference between two groups."""

    difference: float
    seeds: int | None
    """Seeds per group; None: more than a thousand."""
    paired: bool
    more: int | None
    """Further runs in the two groups together."""
    usd: float | None
    """What those runs would cost, at what the runs so far have cost; None where that is not known."""


def seeds_needed(
    difference: float, noise: float, *, paired: bool, level: float = 0.95, power: float = 0.8
) -> int | None:
    """Seeds per group with which a true difference is found with the given power (statsmodels' t-test power).

    Args:
        difference: the size of the difference, in the metric's unit.
        noise: standard deviation of differences within seeds (paired), or between the seeds of one group.
        paired: whether both groups run the same seeds.
        level: 1 - level is the error rate that is accepted.
        power: the wanted chance to find the difference if it is there.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower

    if not (difference > 0 and np.isfinite(noise)):
        return None
    if noise == 0:
        return 2
    test = TTestPower() if paired else TTestIndPower()
    effect = min(difference / noise, 8.0)  # beyond, the distribution is not computed reliably, and two or three do

    def reached(seeds: int) -> bool:
        return bool(test.power(effect, seeds, 1 - level) >= power)

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
    (Bonferroni's, which is a little strict), so that the plan and the test agree.
    """
    table = comparison.table
    pairs = len(table) * (len(table) - 1) / 2
    first, second = groups
    gap = abs(float(table.loc[first, "mean"] - table.loc[second, "mean"])) if difference is None else difference
    paired = table.loc[second, "how"] in ("paired", "within seeds")
    noise = float(table.loc[second, "noise"])
    noise = noise if math.isfinite(noise) else comparison.noise
    if not math.isfinite(noise) or gap <= 0:
        return None
    level = 1 - (1 - comparison.level) / pairs
    needed = seeds_needed(gap, noise, paired=paired, level=level, power=power)
    if needed is None:
        return Plan(gap, None, paired, None, None)
    missing = {name: max(0, needed - int(table.loc[name, "seeds"])) for name in groups}
    usd = None
    if usd_per_run and all(math.isfinite(usd_per_run.get(name, math.nan)) for name in groups):
        usd = sum(missing[name] * usd_per_run[name] for name in groups)
    return Plan(gap, needed, paired, sum(missing.values()), usd)
