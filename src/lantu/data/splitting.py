"""Cut data into training, validation and test parts: stratified, seeded, and independent of the training seed."""

from typing import Any

import numpy as np
import pandas as pd

from lantu.errors import UserError

SPLITS = ("train", "val", "test")
DEFAULT = {"val": 0.1, "test": 0.1}
"""Shares that are cut off where the source has no such part itself."""


def shares(asked: dict[str, float] | None) -> dict[str, float]:
    """The checked shares of "val" and "test".

    Raises:
        UserError: another key, or shares that leave nothing to train on.
    """
    wanted = {**DEFAULT, **(asked or {})}
    unknown = set(wanted) - {"val", "test"}
    if unknown:
        raise UserError(f"`data.split.{sorted(unknown)[0]}`: the parts that are cut off are `val` and `test`.")
    if not all(0 <= share < 1 for share in wanted.values()) or sum(wanted.values()) >= 1:
        raise UserError(f"`data.split={wanted}`: shares lie in [0, 1) and must leave something to train on.")
    return wanted


def completed(split: np.ndarray, wanted: dict[str, float], *, strata: np.ndarray, seed: int) -> np.ndarray:
    """Cut the parts that the source does not have off its training part.

    Args:
        split: the part of each row (N,), of "train", "val", "test".
        wanted: the share of each part in the rows that are still "train".
        strata: group number of each row (N,): every part gets its share of each group, to within one row.
        seed: decides which rows.

    Returns:
        The part of each row (N,).
    """
    split = split.astype("<U5")
    random = np.random.default_rng(seed)
    lacking = {name: share for name, share in wanted.items() if share and not np.any(split == name)}
    left = 1.0
    for name, share in sorted(lacking.items()):
        rows = np.flatnonzero(split == "train")
        split[rows[_systematic(strata[rows], share / left, random)]] = name
        left -= share
    return split


def _systematic(strata: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A random sample of a share of the rows, spread evenly over the strata however small they are."""
    shuffled = random.permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    marks = np.floor(np.arange(len(strata) + 1) * share + random.uniform())
    return by_stratum[np.diff(marks) > 0]


def strata_of(values: Any) -> np.ndarray:
    """Group numbers (N,) of a target: its classes, or tenths of its range of numbers."""
    series = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_float_dtype(series) and series.nunique() > 20:
        series = pd.qcut(series, 10, labels=False, duplicates="drop")
    return pd.factorize(series, sort=True)[0]
