"""The winner's own figure, corrected for having been chosen because it looked best.

The best of k measured means is on average better than its true mean: of twenty equal configurations, the one whose
seeds were lucky wins. Student's interval of that configuration alone covers its true mean in 70% of sweeps instead of
95%, and in fewer than 1% where the noise is skewed, since the lucky one also shows the smallest spread.

Here the choice itself is repeated: residuals are drawn from all configurations, added to their (shrunken) means, the
best is picked as it was picked, and its error is noted (a parametric bootstrap of the selection, with empirical noise).
The interval reaches at least as far as Bonferroni's simultaneous one, which carries small samples; the bootstrap
carries skewed and heavy-tailed noise, where there are residuals enough to see it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

DRAWS = 1000
FEW_GROUPS = 5
"""Below this many configurations the residuals do not show the noise's shape: wider quantiles take their place."""


@dataclass(frozen=True)
class Selected:
    """What is published of the winner."""

    mean: float
    """Its mean, less the advantage that choosing the best of noise gives on average."""
    low: float
    high: float


def selected(
    scores: list[np.ndarray],
    *,
    winner: int,
    mode: str,
    level: float,
    shared: bool,
    error: float = 0.0,
    overlap: float = 0.0,
) -> Selected:
    """The winner's mean and interval.

    Args:
        scores: a row of seeds' scores per group, any number of each.
        winner: the group that was chosen, with two seeds or more.
        mode: "min" or "max".
        level: of the interval, such as 0.95.
        shared: whether the groups' spread is estimated together.
        error: standard error from the finite set of examples, added in quadrature; 0 where it is not known.
        overlap: what overlapping training sets add to 1 / seeds, see `compare`.
    """
    sign = 1.0 if mode == "min" else -1.0
    groups = [sign * np.asarray(each, dtype=float) for each in scores if len(each)]
    sizes = np.array([len(each) for each in groups])
    means = np.array([each.mean() for each in groups])
    place = sum(len(each) > 0 for each in scores[:winner])
    repeated = [each for each in groups if len(each) > 1]
    freedom = int(sum(len(each) - 1 for each in repeated))
    pooled = float(np.sqrt(sum(((each - each.mean()) ** 2).sum() for each in repeated) / freedom))
    own = float(groups[place].std(ddof=1))
    k, alpha = len(groups), 1 - level
    if k == 1:
        half = float(stats.t.ppf(1 - alpha / 2, sizes[0] - 1)) * float(
            np.hypot(own * np.sqrt(1 / sizes[0] + overlap), error)
        )
        return Selected(float(sign * means[0]), *sorted(sign * (means[0] + end) for end in (-half, half)))
    spread = (
        np.full(k, pooled) if shared else np.array([each.std(ddof=1) if len(each) > 1 else pooled for each in groups])
    )
    bias, optimistic, pessimistic = _errors_of_the_chosen(groups, means, sizes, spread, place=place, alpha=alpha)
    few = k < FEW_GROUPS or not shared
    freedom = min(freedom, max(2, int(sizes[place]) - 1)) if few else freedom
    widened = float(np.sqrt(1 + sizes[place] * overlap))
    optimistic, pessimistic = optimistic * widened, pessimistic * widened
    quantile = float(stats.t.ppf(1 - (0.6 if few else 1.0) * alpha / 2 / k, freedom))
    half = quantile * float(np.hypot(spread[place] * np.sqrt(1 / sizes[place] + overlap), error))
    worse = max(half, float(np.hypot(optimistic, quantile * error)))
    better = half if few else max(half, pessimistic)
    ends = sorted((sign * (means[place] - better), sign * (means[place] + worse)))
    return Selected(float(sign * (means[place] + bias)), *map(float, ends))


def _errors_of_the_chosen(
    groups: list[np.ndarray],
    means: np.ndarray,
    sizes: np.ndarray,
    spread: np.ndarray,
    *,
    place: int,
    alpha: float,
) -> tuple[float, float, float]:
    """By how much the chosen one's measured mean is too good: on average, at most, and at least (as a shortfall)."""
    several = [each for each in groups if len(each) > 1]
    one_spread = np.ptp(spread) == 0
    residuals = [(each - each.mean()) / np.sqrt(1 - 1 / len(each)) for each in several]
    if not one_spread:
        residuals = [each / (each.std() or 1.0) for each in residuals]
    pool, scale = np.concatenate(residuals), np.ones(len(groups)) if one_spread else spread
    random = np.random.default_rng(0)
    draws = max(200, min(DRAWS, 5_000_000 // int(sizes.sum())))
    noise = np.empty((draws, len(groups)))
    for size in np.unique(sizes):
        columns = np.flatnonzero(sizes == size)
        noise[:, columns] = random.choice(pool, (draws, len(columns), int(size))).mean(axis=2) * scale[columns]
    # how far the true means are apart: what their measured spread exceeds that of noise
    variance = float(means.var(ddof=1))
    excess = max(0.0, variance - float((spread**2 / sizes).mean()))
    shrink = np.sqrt(excess / variance) if variance > 0 else 0.0
    centres = means.mean() + shrink * (means - means.mean())
    chosen = (centres + noise).argmin(axis=1)
    error = noise[np.arange(draws), chosen]
    low, high = np.quantile(error, [alpha / 10, 1 - alpha / 10])
    return -float(error.mean()), max(0.0, -float(low)), max(0.0, float(high))
