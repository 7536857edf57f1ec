"""Find rows that must not be trained on. Nothing is removed here: masks are returned, and the caller reports them."""

from typing import Any

import numpy as np
import pandas as pd


def row_hashes(rows: pd.DataFrame) -> np.ndarray:
    """A 64-bit hash of every row's content (N,), the same wherever the row lies."""
    return pd.util.hash_pandas_object(rows.astype(_hashable(rows)), index=False).to_numpy()


def repeated(hashes: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Which training rows (N,) occur before among the training rows, or in a validation or test part that came apart.

    Validation and test rows are left as published: their scores stay comparable with other people's.
    """
    order = np.argsort(split == "train", kind="stable")
    seen_before = np.empty(len(hashes), dtype=bool)
    seen_before[order] = pd.Series(hashes[order]).duplicated().to_numpy()
    return seen_before & (split == "train")


def missing(values: pd.Series) -> np.ndarray:
    """Which values (N,) are missing: empty, not a number, or infinite."""
    absent = values.isna().to_numpy(copy=True)
    if pd.api.types.is_float_dtype(values):
        absent |= np.isinf(values.to_numpy(dtype=float, na_value=np.nan))
    return absent


def _hashable(rows: pd.DataFrame) -> dict[Any, str]:
    return {name: "str" for name, kind in rows.dtypes.items() if pd.api.types.is_object_dtype(kind)}
