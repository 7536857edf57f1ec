"""Divide examples into the slices of a column, for each of which metrics are measured."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.cleaning import missing
from lantu.data.values import as_text, is_missing, notation, numbers

MOST_SLICES = 12
"""Values of a column that are a slice each. Numbers and dates with more are cut into quarters, and the rarest of other
values share the slice "other"."""
MISSING = "missing"
OTHER = "other"


@dataclass(frozen=True)
class Slices:
    """The slices of one column, as its training rows give them."""

    names: list[str]
    edges: list[float]
    """Where numbers and dates are cut, rising; an edge belongs to the slice above it. Empty: each value is a slice."""
    dates: str = ""
    """The format of the column's dates; empty if it has none."""
    decimal: str = "."
    unit: str = ""

    @classmethod
    def of(cls, training: pd.Series) -> "Slices":
        """The slices of a column, from its values in training."""
        present = training[~_missing(training)]
        counts = as_text(present).str.strip().value_counts()
        if len(counts) > MOST_SLICES and (cut := cls._of_quantity(present)) is not None:
            return cut
        common = counts.index[:MOST_SLICES] if len(counts) > MOST_SLICES + 1 else counts.index
        return cls(names=sorted(map(str, common), key=_in_order), edges=[])

    @classmethod
    def _of_quantity(cls, present: pd.Series) -> "Slices | None":
        """Quarters of a column of numbers or dates; None if it is neither."""
        texts = [str(value) for value in present.unique()[:2_000]]
        typed = pd.api.types.is_datetime64_any_dtype(present)
        format = dates.Format(dates.ISO) if typed else None if _is_numeric(present) else dates.find_format(texts)
        decimal, unit, _ = notation(texts)
        cut = cls([], [], dates=format.format if format else "", decimal=decimal, unit=unit)
        values = cut._quantities(present)
        values = values[np.isfinite(values)]
        if len(values) < dates.ENOUGH * len(present):
            return None
        edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
        if len(edges) < 3:  # most values are the same one
            return None
        shown = _shown(edges[1:-1], dates=format is not None)
        between = [f"{low} to {high}" for low, high in pairwise(shown)]
        names = [f"below {shown[0]}", *between, f"{shown[-1]} and above"]
        return cls(names, edges[1:-1].tolist(), dates=cut.dates, decimal=decimal, unit=unit)

    def divide(self, values: pd.Series) -> pd.Categorical:
        """The slice of each value (N,); those that training did not have are "other"."""
        known = [*self.names, *(name for name in (OTHER, MISSING) if name not in self.names)]
        if self.edges:
            read = self._quantities(values)
            codes = np.searchsorted(self.edges, read, side="right")
            found = np.where(np.isfinite(read), np.array(self.names, dtype=object)[codes], OTHER)
        else:
            texts = as_text(values).str.strip().to_numpy(dtype=object)
            found = np.where(np.isin(texts, np.array(self.names, dtype=object)), texts, OTHER)
        return pd.Categorical(np.where(_missing(values), MISSING, found), categories=known)

    def _quantities(self, values: pd.Series) -> np.ndarray:
        if self.dates:
            return dates.seconds(values, self.dates)
        return numbers(values, decimal=self.decimal, unit=self.unit)


def _missing(values: pd.Series) -> np.ndarray:
    if _is_numeric(values) or pd.api.types.is_datetime64_any_dtype(values):
        return missing(values)
    codes, uniques = pd.factorize(values)
    return np.append(np.array([is_missing(str(each)) for each in uniques], dtype=bool), True)[codes]


def _is_numeric(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))


def _shown(edges: np.ndarray, *, dates: bool) -> list[str]:
    """Edges as texts that tell them apart: dates with their time, and numbers with more digits, where needed."""
    if dates:
        moments = [pd.Timestamp(each, unit="s") for each in edges]
        found = [each.date().isoformat() for each in moments]
        return found if len(set(found)) == len(found) else [each.isoformat(sep=" ") for each in moments]
    return next(
        found for digits in (6, 15, 17) if len(set(found := [f"{each:.{digits}g}" for each in edges])) == len(edges)
    )


def _in_order(name: str) -> tuple[bool, float, str]:
    """Numbers by their size, then texts."""
    try:
        return (False, float(name), name)
    except ValueError:
        return (True, 0.0, name)
