"""Tests of each group's difference to the winner, corrected for every pair of groups that might have been compared."""

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import PchipInterpolator

from lantu.compare.methods.score_intervals import ExampleErrors
from lantu.compare.methods.spread_pooling import is_complete

PAIRING_PAYS = 0.75
"""The share of the larger group's seeds that must be shared before pairing is worth the others it leaves out."""


def pooled_tests(
    table: pd.DataFrame, blocks: pd.DataFrame, level: float, *, errors: ExampleErrors, overlap: float
) -> pd.DataFrame | None:
    """Tukey's test with one spread for all: within seeds where every group ran every seed, else Tukey-Kramer."""
    groups, n = len(table), table["seeds"].to_numpy(dtype=float)
    complete = is_complete(table, blocks)
    if complete:
        cells = blocks.to_numpy(dtype=float)
        rest = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
        freedom = (groups - 1) * (blocks.shape[1] - 1)
        variance = float((rest**2).sum()) / freedom if freedom else np.nan
    else:
        freedom = int((n - 1).sum())
        variance = float((table["sd"].fillna(0) ** 2 * (n - 1)).sum()) / freedom if freedom else np.nan
    if groups < 2 or not freedom or not variance > 0:
        return None
    difference = table["mean"].to_numpy() - table["mean"].iloc[0]
    winner = str(table.index[0])
    examples = np.append(0.0, errors.beside(winner, map(str, table.index[1:])))
    # with the examples' variance added there are more degrees of freedom than these: a little strict
    error = np.sqrt(variance * (1 / n + 1 / n[0] + 2 * overlap) + examples**2)
    t = np.abs(difference) / error
    corrected = np.ones(groups)
    corrected[1:] = tukey(t[1:], groups, freedom)
    half = tukey_quantile(groups, freedom, level) * error
    how = "within seeds" if complete else "pooled"
    noise = np.full(groups, np.sqrt(variance * (2 if complete else 1)))
    return _tests(
        table, difference, half, 2 * stats.t.sf(t, freedom), corrected=corrected, how=how, noise=noise,
        examples=examples, level=level,
    )  # fmt: skip


def separate_tests(
    table: pd.DataFrame, blocks: pd.DataFrame, winner: str, *, level: float, errors: ExampleErrors, overlap: float
) -> pd.DataFrame:
    """Paired t-tests where most seeds are shared, Welch's elsewhere, Bonferroni's correction over all pairs."""
    n, sd = table["seeds"].to_numpy(dtype=float), table["sd"].to_numpy(dtype=float)
    pairs = max(1, len(table) * (len(table) - 1) // 2)
    difference = table["mean"].to_numpy() - table["mean"].iloc[0]
    squares = np.where(n > 1, sd**2 * (1 / n + overlap), np.nan)
    over_seeds = squares + squares[0]
    with np.errstate(all="ignore"):
        freedom = over_seeds**2 / (squares**2 / (n - 1) + squares[0] ** 2 / (n[0] - 1))
    how = np.where(np.isnan(over_seeds), "", "Welch").astype(object)
    noise = np.sqrt((sd**2 + sd[0] ** 2) / 2)
    if blocks.shape[1] >= 2:
        gaps = (blocks - blocks.loc[winner]).to_numpy(dtype=float)
        shared = np.isfinite(gaps).sum(axis=1)
        usable = (shared >= 2) & (shared >= PAIRING_PAYS * np.maximum(n, n[0]))
        inside = np.array([np.nanstd(row, ddof=1) if ok else np.nan for row, ok in zip(gaps, usable, strict=True)])
        usable &= inside > 1e-9 * np.nanmax(sd, initial=0.0)  # gaps that are all equal: the seeds' own spread is tested
        within = np.array([np.nanmean(row) if ok else 0.0 for row, ok in zip(gaps, usable, strict=True)])
        # a group that is ahead over the shared seeds is no worse one: all seeds are tested, by which the winner won
        usable &= within * difference >= 0
        with np.errstate(all="ignore"):
            over_seeds = np.where(usable, inside**2 * (1 / shared + overlap), over_seeds)
        freedom = np.where(usable, shared - 1, freedom)
        difference = np.where(usable, within, difference)
        how, noise = np.where(usable, "paired", how), np.where(usable, inside, noise)
    examples = np.append(0.0, errors.beside(winner, map(str, table.index[1:])))
    over_seeds = np.where(over_seeds < (1e-12 * np.abs(difference)) ** 2, 0.0, over_seeds)  # rounding is no variance
    variance = over_seeds + examples**2
    error = np.sqrt(np.where(variance > 0, variance, np.nan))
    with np.errstate(all="ignore"):
        freedom = np.where(over_seeds > 0, freedom * (variance / over_seeds) ** 2, 1e6)
        freedom = np.clip(np.where(np.isfinite(freedom), freedom, 1), 1, 1e6)
        t = np.abs(difference) / error
    p = 2 * stats.t.sf(t, freedom)
    half = stats.t.ppf(1 - (1 - level) / 2 / pairs, freedom) * error
    corrected = np.minimum(p * pairs, 1)
    how = np.where(np.isfinite(p), how, "")
    return _tests(table, difference, half, p, corrected=corrected, how=how, noise=noise, examples=examples, level=level)


def tukey(t: np.ndarray, groups: int, freedom: int) -> np.ndarray:
    """Tukey's p-values of t statistics.

    Each takes milliseconds: many are interpolated (within 1 %), and the tiny ones are Bonferroni's, which is never
    less.
    """
    t = np.asarray(t, dtype=float)
    pairs = groups * (groups - 1) / 2
    bound = np.minimum(2 * stats.t.sf(t, freedom) * pairs, 1)
    far = float(stats.t.isf(1e-5 / 2 / pairs, freedom))
    near = t < far
    places = t[near] if near.sum() <= 20 else np.linspace(0, far, 20)
    p = np.clip(stats.studentized_range.sf(places * np.sqrt(2), groups, freedom), 1e-12, 1)
    if near.sum() > 20:
        p = np.exp(PchipInterpolator(places, np.log(p))(t[near]))
    bound[near] = p
    return bound


@lru_cache(1000)
def tukey_quantile(groups: int, freedom: int, level: float) -> float:
    """The critical value of a t statistic in Tukey's test: an interval of this many standard errors is simultaneous."""
    return float(stats.studentized_range.ppf(level, groups, freedom) / np.sqrt(2))


def _tests(
    table: pd.DataFrame,
    difference: np.ndarray,
    half: np.ndarray,
    p: np.ndarray,
    *,
    corrected: np.ndarray,
    how: np.ndarray | str,
    noise: np.ndarray,
    examples: np.ndarray,
    level: float,
) -> pd.DataFrame:
    alike = ~(np.abs(difference) > half)
    alpha = 1 - level
    tests = pd.DataFrame(
        {
            "difference": difference,
            "diff_low": difference - half,
            "diff_high": difference + half,
            "p": p,
            # interpolation and rounding must not let the p-value contradict the interval
            "p_corrected": np.where(alike, np.maximum(corrected, alpha), np.minimum(corrected, np.nextafter(alpha, 0))),
            "alike": alike,
            "how": how,
            "noise": noise,
            "examples": examples,
        },
        index=table.index,
    )
    tests.loc[tests.index[0], ["diff_low", "diff_high", "p", "p_corrected"]] = np.nan
    tests.loc[tests.index[0], ["difference", "how", "alike"]] = [0.0, "", True]
    return tests
