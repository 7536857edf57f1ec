"""How sure are we: intervals, differences to the winner, and which configurations are statistically tied with it.

What is claimed, and how it is kept honest:

- A score varies for two reasons: the seed, and the finite set of examples that it is measured on. Both enter. The
  variance of a configuration's mean is (variance between its seeds) / seeds + (squared standard error over the
  examples), and likewise for a difference, where the examples' part is that of paired differences on the same
  examples when predictions are stored. The two are added; what both contain of the residual makes this conservative.
- A difference to the winner is taken within shared seeds where most seeds are shared (a paired t-test: the luck of a
  seed that both had cancels), otherwise between all seeds (Welch's t-test), so that no run is thrown away.
- The winner is picked *because* it looks best, so that comparing it with k - 1 others is not k - 1 tests: any of the
  k(k - 1)/2 pairs could have been it. All pairs are corrected for. Without this, twenty equal configurations with ten
  seeds each would yield a "significant" difference in 17 of 100 sweeps instead of at most 5.
- Where the groups' spreads look alike (Bartlett's test), they are estimated together and Tukey's studentised
  range, which is exact for the same question, takes the place of Bonferroni's correction: with three seeds this is the
  difference between seeing nothing and seeing what is there.
- Intervals of differences are simultaneous, with the same quantile as the test: an interval excludes zero exactly
  where the test finds a difference.
- The interval of the winner itself is corrected for the choice, see `lantu.compare.methods.selection`.
- Nothing is tested without variance: seeds that all give one value say nothing about other seeds, and without the
  examples' part there is then no test.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import PchipInterpolator

from lantu.compare.methods.selection import selected
from lantu.errors import UserError

MOST_FOR_TUKEY = 200
"""Groups beyond which the studentised range is slower than its gain is worth."""
POOLINGS = ("auto", "own", "shared")
PAIRING_PAYS = 0.75
"""The share of the larger group's seeds that must be shared before pairing is worth the others it leaves out."""


class Examples(Protocol):
    """What is known of the uncertainty that the finite set of examples adds."""

    def error(self, group: str) -> float:
        """Standard error of a group's mean score over the examples; nan where not known."""

    def error_between(self, group: str, other: str) -> float:
        """Standard error of the difference of two groups' mean scores over the examples; nan where not known."""


@dataclass(frozen=True)
class Comparison:
    """Groups compared with the winner."""

    table: pd.DataFrame
    """By group, best first, those without any score last: seeds (runs with a score), runs, failed, mean, sd, low, high
    (the winner's corrected for the choice); difference (group minus winner), diff_low, diff_high (simultaneous), p,
    p_corrected, alike (statistically tied with the winner), how; noise (standard deviation of a difference within a
    seed where pairs were compared, else between seeds)."""
    winner: str
    mode: str
    level: float
    """The confidence level of intervals, such as 0.95."""
    pooling: str
    """"own" or "shared": whether the groups' spread was estimated together."""
    noise: float
    """The pooled standard deviation between seeds; nan with one seed each."""
    corrected: float = float("nan")
    """The winner's mean, corrected for having been chosen; nan where the noise is not known."""

    @property
    def alike(self) -> list[str]:
        """The groups that are statistically tied with the best, the winner first."""
        return list(self.table.index[self.table["alike"]])

    @property
    def tested(self) -> bool:
        """Whether anything could be tested: there are seeds enough, and some variance."""
        if len(self.scored) < 2:
            return bool(self.noise > 0)
        return bool(self.table["p_corrected"].notna().any())

    @property
    def scored(self) -> pd.DataFrame:
        """The rows with a score."""
        return self.table[self.table["seeds"] > 0]

    @property
    def without_spread(self) -> bool:
        """Whether there are several seeds, and all give the same value."""
        return bool(np.isfinite(self.noise) and self.noise == 0)


def compare(
    score: pd.Series,
    group: pd.Series,
    seed: pd.Series,
    *,
    mode: str,
    level: float = 0.95,
    pooling: str = "auto",
    failed: pd.Series | None = None,
    examples: Examples | None = None,
    folds: int | None = None,
) -> Comparison:
    """Compare groups by their mean score.

    Args:
        score: by run; missing ones are counted as runs without a result.
        group: label by run.
        seed: by run.
        mode: "min" or "max".
        level: confidence of the intervals; 1 - level is the error rate of the tests.
        pooling: "own" (each group's spread by itself), "shared" (one for all), "auto" (shared if they look alike).
        failed: by run, whether it failed; its score, if it has one, does not count.
        examples: the uncertainty from the finite set of examples; None: not known.
        folds: the runs of a group are folds of a cross-validation with that many, whose training sets overlap: the
            variance of a mean over them is (1 / runs + 1 / (folds - 1)) times that of a run (Nadeau and Bengio 2003).

    Raises:
        UserError: `pooling` is unknown, or no run has a score.
    """
    if pooling not in POOLINGS:
        raise UserError(f"`statistics.pooling={pooling}`: choose `auto`, `own` or `shared`.")
    frame = pd.DataFrame({"group": group, "seed": seed, "score": score})
    if failed is not None:
        frame.loc[failed.reindex(frame.index).fillna(False).astype(bool), "score"] = np.nan
    counts = frame.groupby("group", sort=False).size()
    losses = failed.astype(float).groupby(group, sort=False).sum() if failed is not None else None
    frame = frame.dropna(subset=["score"])
    if frame.empty:
        raise UserError("none of the runs has finished with a score, so there is nothing to compare yet.")
    table = frame.groupby("group", sort=False)["score"].agg(["count", "mean", "std"])
    table.columns = pd.Index(["seeds", "mean", "sd"])
    table = table.sort_values("mean", ascending=mode == "min", kind="stable")
    errors = _Errors(examples)
    overlap = 1 / (folds - 1) if folds else 0.0
    winner = str(table.index[0])
    _intervals(table, errors, level, overlap)
    blocks = _by_seed(frame, table.index)
    pooling = _decide_pooling(frame, table, blocks) if pooling == "auto" else pooling
    tests = _shared(table, blocks, level, errors=errors, overlap=overlap) if pooling == "shared" else None
    if tests is None:
        pooling, tests = "own", _own(table, blocks, winner, level=level, errors=errors, overlap=overlap)
    table = table.join(tests)
    noise = _noise(table)
    corrected = _correct_winner(table, frame, mode=mode, level=level, pooling=pooling, errors=errors, overlap=overlap)
    table = table.reindex([*table.index, *(each for each in counts.index if each not in table.index)])
    table["seeds"] = table["seeds"].fillna(0).astype(int)
    table["alike"] = table["alike"].fillna(False).astype(bool)
    table["how"] = table["how"].fillna("")
    table["runs"] = counts.reindex(table.index)
    table["failed"] = losses.reindex(table.index).astype(int) if losses is not None else 0
    return Comparison(table, winner, mode, level, pooling, noise, corrected)


def interval(values: pd.Series, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student's interval of some numbers; the interval is missing for fewer than two."""
    values = values.dropna()
    n, mean = len(values), float(values.mean()) if len(values) else np.nan
    if n < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * values.std() / np.sqrt(n))
    return mean, mean - half, mean + half


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


class _Errors:
    """The examples' standard errors as numbers that can be added: 0 where nothing is known."""

    def __init__(self, examples: Examples | None) -> None:
        self._examples = examples

    def of(self, group: str) -> float:
        found = self._examples.error(group) if self._examples else np.nan
        return found if np.isfinite(found) else 0.0

    def between(self, group: str, other: str) -> float:
        found = self._examples.error_between(group, other) if self._examples else np.nan
        return found if np.isfinite(found) else 0.0


def _intervals(table: pd.DataFrame, errors: _Errors, level: float, overlap: float) -> None:
    """Each group's interval by itself: seeds and examples; missing with one seed, or without any variance."""
    n, sd = table["seeds"].to_numpy(dtype=float), table["sd"].to_numpy(dtype=float)
    over_seeds = np.where(n > 1, sd**2 * (1 / n + overlap), np.nan)
    over_examples = np.array([errors.of(str(name)) ** 2 for name in table.index])
    variance = over_seeds + over_examples
    half = _quantile(over_seeds, over_examples, n - 1, 0.5 + level / 2) * np.sqrt(
        np.where(variance > 0, variance, np.nan)
    )
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half


def _quantile(over_seeds: np.ndarray, over_examples: np.ndarray, freedom: np.ndarray, share: float) -> np.ndarray:
    """Student's quantile with Satterthwaite's degrees of freedom, the examples counting as many."""
    with np.errstate(all="ignore"):
        joint = freedom * ((over_seeds + over_examples) / over_seeds) ** 2
    return np.asarray(stats.t.ppf(share, np.clip(np.where(over_seeds > 0, joint, np.inf), 1, 1e6)))


def _correct_winner(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    mode: str,
    level: float,
    pooling: str,
    errors: _Errors,
    overlap: float,
) -> float:
    """Replace the winner's interval by the one that holds although it was chosen; returns its corrected mean."""
    winner = str(table.index[0])
    if not (table.loc[winner, "seeds"] > 1 and table["sd"].max() > 0):
        return float("nan")
    parts = dict(iter(frame.groupby("group")["score"]))
    scores = [parts[name].to_numpy(dtype=float) for name in table.index]
    near = frame["group"].nunique() > 1 and pooling != "shared"
    found = selected(
        scores,
        winner=0,
        mode=mode,
        level=level,
        shared=pooling == "shared" or (near and _spreads_alike(scores)),
        error=errors.of(winner),
        overlap=overlap,
    )
    table.loc[winner, ["low", "high"]] = [found.low, found.high]
    return found.mean


def _spreads_alike(scores: list[np.ndarray]) -> bool:
    """Whether the spreads of groups do not clearly differ, by the Brown-Forsythe test, which skewness does not fool."""
    repeated = [each for each in scores if len(each) > 1]
    if len(repeated) < 2:
        return False
    with np.errstate(all="ignore"):
        p = stats.levene(*repeated, center="median").pvalue if max(map(len, repeated)) > 2 else 1.0
    return bool(not p < 0.01)


def _by_seed(frame: pd.DataFrame, order: "pd.Index[str]") -> pd.DataFrame:
    """Scores with a row per group and a column per seed; a seed run twice counts with its mean."""
    known = frame.dropna(subset=["seed"])
    if known.empty:
        return pd.DataFrame(index=order)
    return known.groupby(["group", "seed"])["score"].mean().unstack("seed").reindex(order)


def _decide_pooling(frame: pd.DataFrame, table: pd.DataFrame, blocks: pd.DataFrame) -> str:
    """Bartlett's test of the scores, and of what is left of them when what the groups share by seed is taken out.

    Either may hide what the other shows: luck that all groups share evens the spreads out, and taking it out spreads
    one group's outlier over all. With two seeds neither sees anything, so that nothing is pooled.
    """
    repeated = set(table.index[table["seeds"] >= 2])
    if len(repeated) < 3 or len(table) > MOST_FOR_TUKEY or table.loc[list(repeated), "seeds"].median() < 3:
        return "own"
    samples = [[part.to_numpy() for name, part in frame.groupby("group")["score"] if name in repeated]]
    if _complete(table, blocks):
        samples.append(list((blocks - blocks.mean(axis=0)).to_numpy(dtype=float)))
    with np.errstate(all="ignore"):
        return "shared" if all(stats.bartlett(*each).pvalue >= 0.1 for each in samples) else "own"


def _complete(table: pd.DataFrame, blocks: pd.DataFrame) -> bool:
    """Whether every group ran every seed once."""
    if blocks.shape[1] < 2 or blocks.isna().to_numpy().any():
        return False
    return bool((table["seeds"] == blocks.shape[1]).all())


def _shared(
    table: pd.DataFrame, blocks: pd.DataFrame, level: float, *, errors: _Errors, overlap: float
) -> pd.DataFrame | None:
    """Tukey's test with one spread for all: within seeds where every group ran every seed, else Tukey-Kramer."""
    groups, n = len(table), table["seeds"].to_numpy(dtype=float)
    complete = _complete(table, blocks)
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
    examples = np.array([0.0, *(errors.between(str(name), winner) for name in table.index[1:])])
    # with the examples' variance added there are more degrees of freedom than these: a little strict
    error = np.sqrt(variance * (1 / n + 1 / n[0] + 2 * overlap) + examples**2)
    t = np.abs(difference) / error
    corrected = np.ones(groups)
    corrected[1:] = tukey(t[1:], groups, freedom)
    half = tukey_quantile(groups, freedom, level) * error
    how = "within seeds" if complete else "pooled"
    noise = np.full(groups, np.sqrt(variance * (2 if complete else 1)))
    return _tests(
        table, difference, half, 2 * stats.t.sf(t, freedom), corrected=corrected, how=how, noise=noise, level=level
    )


def _own(
    table: pd.DataFrame, blocks: pd.DataFrame, winner: str, *, level: float, errors: _Errors, overlap: float
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
        with np.errstate(all="ignore"):
            over_seeds = np.where(usable, inside**2 * (1 / shared + overlap), over_seeds)
        freedom = np.where(usable, shared - 1, freedom)
        within = [np.nanmean(row) if ok else 0 for row, ok in zip(gaps, usable, strict=True)]
        difference = np.where(usable, within, difference)
        how, noise = np.where(usable, "paired", how), np.where(usable, inside, noise)
    examples = np.array([0.0, *(errors.between(str(name), winner) for name in table.index[1:])]) ** 2
    over_seeds = np.where(over_seeds < (1e-12 * np.abs(difference)) ** 2, 0.0, over_seeds)  # rounding is no variance
    variance = over_seeds + examples
    error = np.sqrt(np.where(variance > 0, variance, np.nan))
    with np.errstate(all="ignore"):
        freedom = np.where(over_seeds > 0, freedom * (variance / over_seeds) ** 2, 1e6)
        freedom = np.clip(np.where(np.isfinite(freedom), freedom, 1), 1, 1e6)
        t = np.abs(difference) / error
    p = 2 * stats.t.sf(t, freedom)
    half = stats.t.ppf(1 - (1 - level) / 2 / pairs, freedom) * error
    corrected = np.minimum(p * pairs, 1)
    how = np.where(np.isfinite(p), how, "")
    return _tests(table, difference, half, p, corrected=corrected, how=how, noise=noise, level=level)


def _tests(
    table: pd.DataFrame,
    difference: np.ndarray,
    half: np.ndarray,
    p: np.ndarray,
    *,
    corrected: np.ndarray,
    how: np.ndarray | str,
    noise: np.ndarray,
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
        },
        index=table.index,
    )
    tests.loc[tests.index[0], ["diff_low", "diff_high", "p", "p_corrected"]] = np.nan
    tests.loc[tests.index[0], ["difference", "how", "alike"]] = [0.0, "", True]
    return tests


def _noise(table: pd.DataFrame) -> float:
    n = table["seeds"].to_numpy(dtype=float)
    freedom = (n - 1).sum()
    if not freedom:
        return float("nan")
    found = float(np.sqrt((table["sd"].fillna(0) ** 2 * (n - 1)).sum() / freedom))
    return found if found > 1e-12 * float(table["mean"].abs().max()) else 0.0
