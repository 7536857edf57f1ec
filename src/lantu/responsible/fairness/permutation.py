"""How large a difference between groups is by chance alone: the same examples with their groups shuffled.

The largest less the smallest rate is above 0 in any sample, so its bootstrap interval never contains 0. Shuffling tells
whether there is a difference at all.
"""

from collections.abc import Callable

import numpy as np

DRAWS = 2000
MOST_VALUES = 40_000_000
"""Shuffled values in all draws together, which bounds the time; 200 draws are made at least."""


def shuffled_rates(hits: np.ndarray, sizes: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Rates (DRAWS, groups) where as many hits fall on the same examples whatever their group, as Fisher's test has it.

    Args:
        hits, sizes: of each group (groups,); a group without examples has no rate, NaN.
    """
    sizes = np.rint(sizes).astype(np.int64)
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        sizes, int(np.rint(hits).sum()), size=DRAWS, method="marginals"
    )
    with np.errstate(invalid="ignore"):
        found: np.ndarray = drawn / sizes
    return found


def shuffled_means(values: np.ndarray, codes: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Means (draws, groups) of values (N, figures) by group, (draws, groups, figures), with the values shuffled.

    Args:
        codes: the group (N,) of each example, from 0; each group has one at least.
    """
    random = np.random.default_rng(seed)
    sizes = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    draws = min(DRAWS, max(200, MOST_VALUES // values.size))
    return np.stack([
        np.add.reduceat(values[random.permutation(len(values))], starts, axis=0) / sizes[:, None] for _ in range(draws)
    ])  # fmt: skip


def p_value(rates: np.ndarray, shuffled: np.ndarray, gap: Callable[[np.ndarray], np.ndarray]) -> float:
    """How often shuffled groups are as far apart: the share of draws, with the groups as they are among them.

    Args:
        rates: of the groups as they are (groups,).
        shuffled: of shuffled ones (draws, groups).
        gap: from rates (D, groups) to differences (D,).
    """
    here = float(gap(rates[None])[0])
    if not np.isfinite(here):
        return float("nan")
    drawn = gap(shuffled)
    return float((1 + np.sum(drawn >= here - 1e-9 * abs(here))) / (1 + len(drawn)))
