"""Split data into training, validation and test: stratified, with a seed of its own."""

from typing import Any

import numpy as np
import pandas as pd

from lantu.errors import UserError

SPLITS = ("train", "val", "test")
DEFAULT = {"val": 0.1, "test": 0.1}
"""Default shares of the splits that the source lacks."""


def shares(asked: dict[str, float] | str | None) -> dict[str, float]:
    """The checked shares of "val" and "test".

    Args:
        asked: shares that differ from the usual ones; "time" or "random" leave them as they are.

    Raises:
        UserError: another key, or shares that leave nothing to train on.
    """
    if isinstance(asked, str):
        if asked not in ("time", "random"):
            raise UserError(
                f"`data.split={asked}`: a split is random, time (with `data.time=COLUMN`), or shares such as "
                "{val: 0.1, test: 0.2}."
            )
        asked = None
    wanted = {**DEFAULT, **(asked or {})}
    unknown = set(wanted) - {"val", "test"}
    if unknown:
        raise UserError(f"`data.split.{sorted(unknown)[0]}`: the parts that are cut off are `val` and `test`.")
    if not all(0 <= share < 1 for share in wanted.values()) or sum(wanted.values()) >= 1:
        raise UserError(f"`data.split={wanted}`: shares lie in [0, 1) and must leave something to train on.")
    return wanted


def completed(split: np.ndarray, wanted: dict[str, float], *, strata: np.ndarray, seed: int) -> np.ndarray:
    """Split the parts that the source lacks off its training part.

    Args:
        split: the part of each row (N,), of "train", "val", "test".
        wanted: the share of each part in the rows that are still "train".
        strata: group number of each row (N,): every part gets its share of each group, to within one row.
        seed: of the random choice of rows.

    Returns:
        The part of each row (N,).
    """
    split = split.astype("<U5")
    random = np.random.default_rng(seed)
    lacking = _lacking(split, wanted)
    left = 1.0
    for name, share in sorted(lacking.items()):
        rows = np.flatnonzero(split == "train")
        split[rows[_systematic(strata[rows], share / left, random)]] = name
        left -= share
    return split


def with_every_class(split: np.ndarray, parts: list[str], *, classes: np.ndarray, seed: int) -> np.ndarray:
    """Exchange rows so that each part has every class that has enough rows: one for training, then one for each part.

    Args:
        split: the part of each row (N,), as `completed` gave it.
        parts: those that were cut off, and among which rows may be exchanged with training.
        classes: class number of each row (N,).

    Returns:
        The part of each row (N,); parts keep their sizes.
    """
    split = split.copy()
    random = np.random.default_rng((seed, 1))
    free = np.isin(split, ["train", *parts])
    for number, count in zip(*np.unique(classes[free], return_counts=True), strict=True):
        order = ["train", *sorted(parts)][:count]
        for part in order:
            own = free & (classes == number)
            if (own & (split == part)).any():
                continue
            givers = [each for each in ["train", *parts] if (own & (split == each)).sum() > (each in order)]
            rows = np.flatnonzero(own & np.isin(split, givers))
            # in exchange the part gives a row of the class of which it has the most
            there = np.flatnonzero(split == part)
            if not len(rows) or not len(there):
                continue
            taken = random.choice(rows)
            most = np.bincount(classes[there]).argmax()
            if (classes[there] == most).sum() < 2:
                continue
            given = random.choice(there[classes[there] == most])
            split[taken], split[given] = part, split[taken]
    return split


def grouped(
    split: np.ndarray, wanted: dict[str, float], *, groups: np.ndarray, strata: np.ndarray, seed: int
) -> np.ndarray:
    """As `completed`, with all rows of a group in one part.

    Several random orders of the groups are tried; the one whose parts are closest to the wanted shares, of rows and of
    each stratum, is used.

    Args:
        groups: group number of each row (N,); negative: a group of its own.

    Raises:
        UserError: there are fewer groups than parts.
    """
    split = split.astype("<U5")
    lacking = _lacking(split, wanted)
    rows = np.flatnonzero(split == "train")
    if not lacking:
        return split
    alone = groups[rows] < 0
    codes = np.where(alone, groups.max() + 1 + np.cumsum(alone), groups[rows])
    members = np.unique(codes, return_inverse=True)[1]
    count = int(members.max()) + 1
    if count <= len(lacking):
        raise UserError(
            f"`data.group`: the rows fall into {count} group{'s' * (count != 1)}, too few for training and "
            f"{' and '.join(lacking)}. Name a column with more values, or set `data.split.val=0`."
        )
    table = np.zeros((count, int(strata.max(initial=0)) + 1))
    np.add.at(table, (members, strata[rows]), 1)
    random = np.random.default_rng(seed)
    best, best_cost = np.zeros(count, dtype=int), np.inf
    for _ in range(20):
        parts = _fill(table, [lacking[name] for name in sorted(lacking)], random.permutation(count))
        cost = sum(
            float(np.abs(table[parts == place + 1].sum(axis=0) - share * table.sum(axis=0)).sum())
            for place, share in enumerate(lacking[name] for name in sorted(lacking))
        )
        if cost < best_cost:
            best, best_cost = parts, cost
    names = np.array(["train", *sorted(lacking)])
    split[rows] = names[best[members]]
    return split


def by_time(split: np.ndarray, wanted: dict[str, float], *, times: np.ndarray) -> np.ndarray:
    """As `completed`, with the newest rows in the test part and those before them in the validation part.

    Rows of the same moment stay together, so that nothing is trained on what happened at the time of a test row.

    Args:
        times: moment of each row (N,), rising with time.
    """
    split = split.astype("<U5")
    lacking = _lacking(split, wanted)
    end = np.inf
    total = int((split == "train").sum())
    for name in (each for each in ("test", "val") if each in lacking):
        rows = np.flatnonzero((split == "train") & (times < end))
        ordered = np.sort(times[rows])
        count = round(lacking[name] * total)
        if not 0 < count < len(ordered):
            continue
        begin = ordered[len(ordered) - count]
        if begin == ordered[0]:  # the oldest moment is that of most rows
            continue
        split[rows[times[rows] >= begin]] = name
        end = begin
    return split


def check_sizes(split: np.ndarray, wanted: dict[str, float], *, unit: str) -> None:
    """Raise a `UserError` for a part that was asked for and has no rows, or for nothing to train on."""
    total = len(split)
    for name, share in wanted.items():
        if share and not np.any(split == name):
            raise UserError(
                f"`data.split.{name}={share:g}` of {total:,} {unit} leaves nothing in {name}. Ask for a larger share, "
                f"or for none: `data.split.{name}=0`."
            )
    if np.sum(split == "train") < 2:
        raise UserError(
            f"{int(np.sum(split == 'train'))} of {total:,} {unit} are left to train on. Cut off less: "
            "`data.split.val=0 data.split.test=0.2`."
        )


def _lacking(split: np.ndarray, wanted: dict[str, float]) -> dict[str, float]:
    return {name: share for name, share in wanted.items() if share and not np.any(split == name)}


def _fill(table: np.ndarray, targets: list[float], order: np.ndarray) -> np.ndarray:
    """The part of each group, 0 for training: in order, a group goes to the first part that has room for it."""
    sizes, parts = table.sum(axis=1), np.zeros(len(table), dtype=int)
    wanted = [share * sizes.sum() for share in targets]
    filled = [0.0] * len(targets)
    for group in order:
        for place, most in enumerate(wanted):
            if filled[place] == 0 or filled[place] + sizes[group] / 2 <= most:
                parts[group], filled[place] = place + 1, filled[place] + sizes[group]
                break
    return parts


def _systematic(strata: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """A stratified random sample of a share of the rows, also for small strata."""
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
