"""Find rows that should not be trained on. The functions return masks; the caller drops and reports the rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


def row_hashes(rows: pd.DataFrame) -> np.ndarray:
    """A 64-bit hash of every row's content (N,), independent of the row's position."""
    return pd.util.hash_pandas_object(rows.astype(_hashable(rows)), index=False).to_numpy()


def repeated(hashes: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Which training rows (N,) occur earlier in training, or in a validation or test part of the source.

    Validation and test rows are kept, so that scores stay comparable with published ones.
    """
    order = np.argsort(split == "train", kind="stable")
    seen_before = np.empty(len(hashes), dtype=bool)
    seen_before[order] = pd.Series(hashes[order]).duplicated().to_numpy()
    return seen_before & (split == "train")


def under_several_labels(hashes: np.ndarray, labels: pd.Series) -> int:
    """How many different contents occur under more than one label; 0 where the labels are numbers.

    Args:
        hashes: of the contents (N,).
        labels: of the same rows.
    """
    if pd.api.types.is_numeric_dtype(labels):
        return 0
    known = labels.notna().to_numpy()
    pairs = pd.DataFrame({"content": hashes[known], "label": labels.astype(str).to_numpy()[known]})
    return int((pairs.groupby("content")["label"].nunique() > 1).sum())


@dataclass(frozen=True)
class Copies:
    """Rows that occur in training and in another part."""

    shared: np.ndarray
    """Which training rows (N,) equal a held-out one."""
    held_out: np.ndarray
    """Which held-out rows (N,) equal a training row."""
    repeats: int
    """Rows that equal an earlier one, in whichever part."""
    are_copies: bool
    """Whether equal rows are copies; False: they may be different things with equal values."""


def copies_across(rows: pd.DataFrame, hashes: np.ndarray, split: np.ndarray) -> Copies:
    """Find rows that occur in training and in another part.

    Equal rows are copies where they are few (2% of all), or where one column nearly tells the rows apart, such as a key
    or a measurement with many digits: two things do not agree in that by chance. People described by their sex, age
    group and class do.
    """
    training = split == "train"
    shared = training & np.isin(hashes, hashes[~training])
    held_out = ~training & np.isin(hashes, hashes[training])
    repeats = int(pd.Series(hashes).duplicated().sum())
    if not shared.any():
        return Copies(shared, held_out, repeats, are_copies=True)
    different = len(hashes) - repeats
    most = max(rows[name].astype(str).nunique() for name in rows)
    identified = most >= 0.5 * different and most >= 0.2 * len(rows)
    return Copies(shared, held_out, repeats, are_copies=repeats <= 0.02 * len(rows) or bool(identified))


def missing(values: pd.Series) -> np.ndarray:
    """Which values (N,) are missing: empty, not a number, or infinite."""
    absent = values.isna().to_numpy(copy=True)
    if pd.api.types.is_float_dtype(values):
        absent |= np.isinf(values.to_numpy(dtype=float, na_value=np.nan))
    return absent


def _hashable(rows: pd.DataFrame) -> dict[Any, str]:
    return {name: "str" for name, kind in rows.dtypes.items() if pd.api.types.is_object_dtype(kind)}
