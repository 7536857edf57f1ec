"""Whether the spread of scores between seeds is estimated for each group or for all together."""

import numpy as np
import pandas as pd
from scipy import stats

MOST_FOR_TUKEY = 200
"""Groups beyond which the studentised range is slower than its gain is worth."""
POOLINGS = ("auto", "own", "shared")


def choose_pooling(frame: pd.DataFrame, table: pd.DataFrame, blocks: pd.DataFrame) -> str:
    """Bartlett's test of the scores, and of what is left of them when what the groups share by seed is taken out.

    Either may hide what the other shows: luck that all groups share evens the spreads out, and taking it out spreads
    one group's outlier over all. With two seeds neither sees anything, so that nothing is pooled.
    """
    repeated = set(table.index[table["seeds"] >= 2])
    if len(repeated) < 3 or len(table) > MOST_FOR_TUKEY or table.loc[list(repeated), "seeds"].median() < 3:
        return "own"
    samples = [[part.to_numpy() for name, part in frame.groupby("group")["score"] if name in repeated]]
    if is_complete(table, blocks):
        samples.append(list((blocks - blocks.mean(axis=0)).to_numpy(dtype=float)))
    with np.errstate(all="ignore"):
        return "shared" if all(stats.bartlett(*each).pvalue >= 0.1 for each in samples) else "own"


def spreads_alike(scores: list[np.ndarray]) -> bool:
    """Whether the spreads of groups do not clearly differ, by the Brown-Forsythe test, which skewness does not fool."""
    repeated = [each for each in scores if len(each) > 1]
    if len(repeated) < 2:
        return False
    with np.errstate(all="ignore"):
        p = stats.levene(*repeated, center="median").pvalue if max(map(len, repeated)) > 2 else 1.0
    return bool(not p < 0.01)


def scores_by_seed(frame: pd.DataFrame, order: "pd.Index[str]") -> pd.DataFrame:
    """Scores with a row per group and a column per seed; a seed run twice counts with its mean."""
    known = frame.dropna(subset=["seed"])
    if known.empty:
        return pd.DataFrame(index=order)
    return known.groupby(["group", "seed"])["score"].mean().unstack("seed").reindex(order)


def is_complete(table: pd.DataFrame, blocks: pd.DataFrame) -> bool:
    """Whether every group ran every seed once."""
    if blocks.shape[1] < 2 or blocks.isna().to_numpy().any():
        return False
    return bool((table["seeds"] == blocks.shape[1]).all())
