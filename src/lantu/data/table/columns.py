"""From the columns of a table to numbers on one scale, learned on the training rows."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from lantu.data.cleaning_report import Report
from lantu.errors import UserError

MOST_CATEGORIES = 50
"""A column of texts with more different ones is no category but a name or prose."""
LEAST_NUMERIC = 0.95
"""Share of a text column's values that must read as numbers for the column to be one of numbers."""

LEVELS = np.linspace(0.005, 0.995, 100)
"""Of the quantiles that ranks are looked up in."""


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers.

    A number becomes (value - mean) / std, or, with quantiles, the normal score of its rank in training; with the median
    for a missing one, and a second feature that marks those if there were any in training. A category becomes one
    feature per value seen in training; a value not seen, or missing, has a feature of its own if training had missing
    ones, and is all zeros otherwise.
    """

    name: str
    kind: Literal["number", "category", "date"]
    type: str
    """Of its values, as MLflow calls it: double, long, boolean, string or datetime."""
    mean: float = 0.0
    std: float = 1.0
    median: float = 0.0
    quantiles: list[float] = field(default_factory=list)
    """At LEVELS; empty: the number is standardised."""
    categories: list[str] = field(default_factory=list)
    marks_missing: bool = False

    @property
    def features(self) -> list[str]:
        """Names of the features that it becomes."""
        own = [f"{self.name}={value}" for value in self.categories] if self.kind == "category" else [self.name]
        return [*own, f"{self.name} missing"] if self.marks_missing else own

    def encode(self, values: pd.Series) -> np.ndarray:
        """(N, features) float32."""
        if self.kind == "category":
            codes = pd.Categorical(_as_category(values), categories=self.categories).codes
            encoded = codes[:, None] == np.arange(len(self.categories))
            absent = values.isna().to_numpy()
        else:
            numbers = as_numbers(values)
            absent = ~np.isfinite(numbers)
            encoded = self._scaled(np.where(absent, self.median, numbers))[:, None]
        parts = [encoded, absent[:, None]] if self.marks_missing else [encoded]
        return np.hstack(parts).astype(np.float32)

    def _scaled(self, numbers: np.ndarray) -> np.ndarray:
        if not self.quantiles:
            return (numbers - self.mean) / self.std
        from scipy.special import ndtri

        return np.interp(numbers, self.quantiles, ndtri(LEVELS))


def learn(rows: pd.DataFrame, report: Report, *, numbers: str = "standard") -> list[Column]:
    """How to encode each column of the training rows; columns that cannot help are reported and left out.

    Args:
        numbers: standard, or quantile: ranks, which outliers and skew do not disturb.

    Raises:
        UserError: no column is left.
    """
    learned: list[Column] = []
    constant, prose = [], []
    for name in rows.columns:
        values = rows[name]
        present = values.dropna()
        if present.nunique() < 2 and (present.empty or not values.isna().any()):
            constant.append(name)
            continue
        kind = _kind(present)
        if kind == "prose":
            prose.append(name)
        elif kind == "category":
            counted = _as_category(present).value_counts()
            known = sorted(counted.index)
            learned.append(
                Column(name, "category", _type(values), categories=known, marks_missing=bool(values.isna().any()))
            )
        else:
            learned.append(_number(name, kind, values, ranks=numbers == "quantile"))
            unread = int(np.isnan(as_numbers(present)).sum())
            report.note(unread, f"values of {name} that are no {kind} taken as missing")
    report.note(int(rows.isna().to_numpy().sum()), "missing values in the training split filled in and marked")
    report.note(len(constant), "columns with a single value left out", names=constant)
    report.note(len(prose), f"columns with more than {MOST_CATEGORIES} different texts left out", names=prose)
    if not learned:
        raise UserError("The table has no column to predict from: every one is constant, or free text.")
    return learned


def encode(rows: pd.DataFrame, columns: list[Column]) -> np.ndarray:
    """(N, features) float32 of all columns.

    Raises:
        UserError: a column that the training rows had is not there.
    """
    lacking = [column.name for column in columns if column.name not in rows]
    if lacking:
        raise UserError(f"The table lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}.")
    return np.hstack([column.encode(rows[column.name]) for column in columns])


def state(columns: list[Column]) -> list[dict[str, Any]]:
    """As plain values."""
    return [asdict(column) for column in columns]


def as_numbers(values: pd.Series) -> np.ndarray:
    """Numbers (N,) float64; seconds since 1970 for dates; NaN for what is neither."""
    if pd.api.types.is_datetime64_any_dtype(values):
        seconds = values.astype("datetime64[ns, UTC]" if values.dt.tz else "datetime64[ns]").astype("int64") / 1e9
        return np.where(values.isna(), np.nan, seconds)
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().mean() < 0.5 and len(values.dropna()):
        return as_numbers(pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601"))
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)


def _number(name: str, kind: Any, values: pd.Series, *, ranks: bool) -> Column:
    numbers = as_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    median = float(np.median(finite))
    filled = np.where(np.isfinite(numbers), numbers, median)
    return Column(
        name,
        kind,
        _type(values),
        mean=float(filled.mean()),
        std=float(filled.std()) or 1.0,
        median=median,
        quantiles=np.quantile(filled, LEVELS).tolist() if ranks else [],
        marks_missing=len(finite) < len(numbers),
    )


def _kind(present: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(present) or isinstance(present.dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_datetime64_any_dtype(present):
        return "date"
    if pd.api.types.is_numeric_dtype(present):
        return "number"
    if pd.to_numeric(present, errors="coerce").notna().mean() >= LEAST_NUMERIC:
        return "number"
    if present.nunique() <= MOST_CATEGORIES:
        return "category"
    dates = pd.to_datetime(present, errors="coerce", utc=True, format="ISO8601")
    return "date" if dates.notna().mean() >= LEAST_NUMERIC else "prose"


def _type(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "datetime"
    if not pd.api.types.is_numeric_dtype(values):
        return "string"
    return "long" if pd.api.types.is_integer_dtype(values) else "double"


def _as_category(values: pd.Series) -> pd.Series:
    texts = values.astype("string").str.strip()
    return texts.astype(object).where(values.notna(), None)
