"""How sure are we: intervals across seeds, differences to the winner, and who cannot be told from it.

What is claimed, and how it is kept honest:

- A group's interval is Student's t across its seeds.
- A difference to the winner is taken within shared seeds where two or more are shared (a paired t-test: the
  luck of a seed that both had cancels), otherwise with Welch's t-test, which lets the groups spread differently.
- The winner is picked *because* it looks best, so that comparing it with k - 1 others is not k - 1 tests: any of
  the k(k - 1)/2 pairs could have been it. Holm's correction therefore counts all pairs. Without this, twenty
  equal configurations with ten seeds each would yield a "significant" difference in 17 of 100 sweeps instead of
  at most 5.
- Where the groups' spreads look alike (Bartlett's test), they are estimated together and
  Tukey's studentised range, which is exact for the same question, takes the place of Holm's: with three seeds
  this is the difference between seeing nothing and seeing what is there.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import PchipInterpolator

from lantu.errors import UserError

MOST_FOR_TUKEY = 200
"""Groups beyond which the studentised range is slower than its gain is worth."""
POOLINGS = ("auto", "own", "shared")


@dataclass(frozen=True)
class Comparison:
    """Groups compared with the winner."""

    table: pd.DataFrame
    """By group, best first: seeds (runs with a score), runs, mean, sd, low, high; difference (group minus winner),
    diff_low, diff_high (95%, each by itself), p, p_corrected, alike (cannot be told from the winner), how;
    noise (standard deviation of a difference within a seed where pairs were compared, else between seeds)."""
    winner: str
    mode: str
    level: float
    """The confidence level of intervals, such as 0.95."""
    pooling: str
    """"own" or "shared": whether the groups' spread was estimated together."""
    noise: float
    """The pooled standard deviation between seeds; nan with one seed each."""

    @property
    def alike(self) -> list[str]:
        """The groups that cannot be told from the best, the winner first."""
        return list(self.table.index[self.table["alike"]])

    @property
    def tested(self) -> bool:
        """Whether there are seeds enough to say anything about noise."""
        return bool(np.isfinite(self.noise))


def compare(
    score: pd.Series, group: pd.Series, seed: pd.Series, *, mode: str, level: float = 0.95, pooling: str = "auto"
) -> Comparison:
    """Compare groups by their mean score.

    Args:
        score: by run; missing ones are counted as runs without a result.
        group: label by run.
        seed: by run.
        mode: "min" or "max".
        level: confidence of the intervals; 1 - level is the error rate of the tests.
        pooling: "own" (each group's spread by itself), "shared" (one for all), "auto" (shared if they look alike).
    """
    if pooling not in POOLINGS:
        raise UserError(f"`statistics.pooling={pooling}`: the spread of seeds is estimated `auto`, `own` or `shared`.")
    frame = pd.DataFrame({"group": group, "seed": seed, "score": score})
    counts = frame.groupby("group", sort=False).size()
    frame = frame.dropna(subset=["score"])
    table = frame.groupby("group", sort=False)["score"].agg(["count", "mean", "std"])
    table.columns = pd.Index(["seeds", "mean", "sd"])
    table["runs"] = counts.reindex(table.index)
    table = table.sort_values("mean", ascending=mode == "min", kind="stable")
    half = stats.t.ppf(0.5 + level / 2, np.maximum(table["seeds"] - 1, 1)) * table["sd"] / np.sqrt(table["seeds"])
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half
    winner = str(table.index[0])
    blocks = _by_seed(frame, table.index)
    pooling = _decide_pooling(frame, table, blocks) if pooling == "auto" else pooling
    tests = _shared(table, blocks, level) if pooling == "shared" else None
    if tests is None:
        pooling, tests = "own", _own(table, blocks, winner, level)
    table = table.join(tests)
    table["alike"] = ~(table["p_corrected"] < 1 - level)
    return Comparison(table, winner, mode, level, pooling, _noise(table))


def interval(values: pd.Series, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student's interval of some numbers; the interval is missing for fewer than two."""
    values = values.dropna()
    n, mean = len(values), float(values.mean()) if len(values) else np.nan
    if n < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * values.std() / np.sqrt(n))
    return mean, mean - half, mean + half


def holm(p: np.ndarray, family: int) -> np.ndarray:
    """Holm's step-down correction of the smallest p-values of a family of tests (the others being larger)."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * (family - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected


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


def _shared(table: pd.DataFrame, blocks: pd.DataFrame, level: float) -> pd.DataFrame | None:
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
    if not freedom or not variance > 0:
        return None
    difference = table["mean"].to_numpy() - table["mean"].iloc[0]
    error = np.sqrt(variance * (1 / n + 1 / n[0]))
    t = np.abs(difference) / error
    half = stats.t.ppf(0.5 + level / 2, freedom) * error
    corrected = np.ones(groups)
    corrected[1:] = tukey(t[1:], groups, freedom)
    how = "within seeds" if complete else "pooled"
    noise = np.full(groups, np.sqrt(variance * (2 if complete else 1)))
    return _tests(table, difference, half, 2 * stats.t.sf(t, freedom), corrected=corrected, how=how, noise=noise)


def _own(table: pd.DataFrame, blocks: pd.DataFrame, winner: str, level: float) -> pd.DataFrame:
    """Paired t-tests over shared seeds, Welch's elsewhere, Holm's correction over all pairs."""
    n, sd = table["seeds"].to_numpy(dtype=float), table["sd"].to_numpy()
    difference = table["mean"].to_numpy() - table["mean"].iloc[0]
    squares = np.where(n > 1, sd**2 / n, np.nan)
    with np.errstate(all="ignore"):
        error = np.sqrt(squares + squares[0])
        freedom = error**4 / (squares**2 / (n - 1) + squares[0] ** 2 / (n[0] - 1))
    how = np.where(np.isnan(error), "", "Welch").astype(object)
    noise = np.sqrt((sd**2 + sd[0] ** 2) / 2)
    if blocks.shape[1] >= 2:
        gaps = (blocks - blocks.loc[winner]).to_numpy(dtype=float)
        shared = np.isfinite(gaps).sum(axis=1)
        usable = shared >= 2
        with np.errstate(all="ignore"):
            inside = np.array([np.nanstd(row, ddof=1) if ok else np.nan for row, ok in zip(gaps, usable, strict=True)])
            error = np.where(usable, inside / np.sqrt(shared), error)
        freedom = np.where(usable, shared - 1, freedom)
        difference = np.where(
            usable, [np.nanmean(row) if ok else 0 for row, ok in zip(gaps, usable, strict=True)], difference
        )
        how, noise = np.where(usable, "paired", how), np.where(usable, inside, noise)
    with np.errstate(all="ignore"):
        t = np.abs(difference) / error
    p = 2 * stats.t.sf(t, freedom)
    half = stats.t.ppf(0.5 + level / 2, freedom) * error
    corrected = np.full(len(table), np.nan)
    tested = np.isfinite(p)
    tested[0] = False
    corrected[tested] = holm(p[tested], family=len(table) * (len(table) - 1) // 2)
    return _tests(table, difference, half, p, corrected=corrected, how=how, noise=noise)


def _tests(
    table: pd.DataFrame,
    difference: np.ndarray,
    half: np.ndarray,
    p: np.ndarray,
    *,
    corrected: np.ndarray,
    how: np.ndarray | str,
    noise: np.ndarray,
) -> pd.DataFrame:
    tests = pd.DataFrame(
        {
            "difference": difference,
            "diff_low": difference - half,
            "diff_high": difference + half,
            "p": p,
            "p_corrected": corrected,
            "how": how,
            "noise": noise,
        },
        index=table.index,
    )
    tests.loc[tests.index[0], ["diff_low", "diff_high", "p", "p_corrected"]] = np.nan
    tests.loc[tests.index[0], ["difference", "how"]] = [0.0, ""]
    return tests


def _noise(table: pd.DataFrame) -> float:
    n = table["seeds"].to_numpy(dtype=float)
    freedom = (n - 1).sum()
    return float(np.sqrt((table["sd"].fillna(0) ** 2 * (n - 1)).sum() / freedom)) if freedom else float("nan")
