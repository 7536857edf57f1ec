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

import numpy as np
import pandas as pd

from lantu.compare.methods.difference_tests import pooled_tests, separate_tests
from lantu.compare.methods.score_intervals import ExampleErrors, Examples, add_intervals
from lantu.compare.methods.selection import selected
from lantu.compare.methods.spread_pooling import POOLINGS, choose_pooling, scores_by_seed, spreads_alike
from lantu.errors import UserError


@dataclass(frozen=True)
class Comparison:
    """Groups compared with the winner."""

    table: pd.DataFrame
    """By group, best first, those without any score last: seeds (runs with a score), runs, failed, mean, sd, low, high
    (the winner's corrected for the choice); difference (group minus winner), diff_low, diff_high (simultaneous), p,
    p_corrected, alike (statistically tied with the winner), how; noise (standard deviation of a difference within a
    seed where pairs were compared, else between seeds), examples (standard error of a difference over the examples)."""
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
        """The groups that no test tells from the best, the winner first: those that are tied, and `untested` ones."""
        return list(self.table.index[self.table["alike"]])

    @property
    def untested(self) -> list[str]:
        """The groups with a score that too few runs have for a test."""
        others = self.scored.iloc[1:]
        return list(others.index[others["p_corrected"].isna()])

    @property
    def tied(self) -> pd.Series:
        """By group, whether a test has found it tied with the best; the winner too, where anything was tested."""
        return self.table["alike"] & self.tested & ~self.table.index.isin(self.untested)

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
    errors = ExampleErrors(examples)
    overlap = 1 / (folds - 1) if folds else 0.0
    winner = str(table.index[0])
    add_intervals(table, errors, level, overlap)
    blocks = scores_by_seed(frame, table.index)
    pooling = choose_pooling(frame, table, blocks) if pooling == "auto" else pooling
    tests = pooled_tests(table, blocks, level, errors=errors, overlap=overlap) if pooling == "shared" else None
    if tests is None:
        pooling, tests = "own", separate_tests(table, blocks, winner, level=level, errors=errors, overlap=overlap)
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


def _correct_winner(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    mode: str,
    level: float,
    pooling: str,
    errors: ExampleErrors,
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
        shared=pooling == "shared" or (near and spreads_alike(scores)),
        error=errors.of(winner),
        overlap=overlap,
    )
    table.loc[winner, ["low", "high"]] = [found.low, found.high]
    return found.mean


def _noise(table: pd.DataFrame) -> float:
    n = table["seeds"].to_numpy(dtype=float)
    freedom = (n - 1).sum()
    if not freedom:
        return float("nan")
    found = float(np.sqrt((table["sd"].fillna(0) ** 2 * (n - 1)).sum() / freedom))
    return found if found > 1e-12 * float(table["mean"].abs().max()) else 0.0
