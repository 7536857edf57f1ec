"""Find inputs that leak the target: a copy of it, or something known only after it."""

import numpy as np
import pandas as pd

from lantu.data.cleaning_report import Report
from lantu.data.table.column import Column
from lantu.data.table.column_values import as_category, read_numbers

LEAK = 0.99
"""Share of the training rows whose class one column alone predicts, or of the target's variance, that is reported."""
_BINS = 50
_LEAST = 50
"""Training rows below which nothing is reported: a column may separate a few by chance."""


def suspicious(rows: pd.DataFrame, target: pd.Series, columns: list[Column], report: Report) -> None:
    """Warn of each column of the training rows that alone predicts the target."""
    if len(rows) < _LEAST:
        return
    for column in columns:
        if column.kind == "number" and (found := _mark_of_missing(read_numbers(column, rows[column.name]))):
            value, count, low, high = found
            report.warn(
                f"`{column.name}`: {count:,} values are {value:g}, and the others lie between {low:,.6g} and "
                f"{high:,.6g}. If {value:g} stands for a missing value, empty those cells"
            )
    numeric = pd.api.types.is_numeric_dtype(target) and target.nunique() > 20
    known = target.to_numpy(dtype=np.float64) if numeric else pd.factorize(target)[0]
    for column in columns:
        values = rows[column.name]
        share = _variance_share(column, values, known) if numeric else _class_share(column, values, known)
        if share >= LEAK:
            what = "of the variance of" if numeric else "of the rows'"
            report.warn(
                f"`{column.name}` alone tells {share:.1%} {what} `{target.name}`. If it copies the target, or is known "
                f"only after it, leave it out: `data.ignore=[{column.name}]`"
            )


def _mark_of_missing(numbers: np.ndarray) -> tuple[float, int, float, float] | None:
    """A value such as -999 or 9999 far from all others: it, how often it occurs, and the range of the others."""
    values, counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)
    for place, others in ((0, values[1:]), (-1, values[:-1])) if len(values) > 2 else ():
        value, low, high = values[place], others[0], others[-1]
        gap = low - value if place == 0 else value - high
        if set(f"{abs(value):g}") == {"9"} and abs(value) > 9 and counts[place] > 1 and gap > high - low:
            return float(value), int(counts[place]), float(low), float(high)
    return None


def _class_share(column: Column, values: pd.Series, classes: np.ndarray) -> float:
    """The share of rows whose class the column's value predicts; 0 where nearly all rows are of one class."""
    levels = _levels(column, values)
    table = np.zeros((levels.max() + 1, classes.max() + 1))
    np.add.at(table, (levels, classes), 1)
    if (table > 0).any(axis=1).sum() > len(levels) / 5:  # most values occur once or twice: they tell nothing
        return 0.0
    predicted, commonest = table.max(axis=1).sum() / len(levels), table.sum(axis=0).max() / len(levels)
    return float(predicted) if (1 - predicted) < 0.2 * (1 - commonest) else 0.0


def _variance_share(column: Column, values: pd.Series, target: np.ndarray) -> float:
    """The share of the target's variance that a line through the column's numbers or ranks explains, or its levels."""
    if not column.has_categories:
        pairs = pd.DataFrame({"x": read_numbers(column, values), "y": target}).dropna()
        if len(pairs) < _LEAST or pairs["x"].nunique() < 2:
            return 0.0
        return float(max(pairs.corr(how).iloc[0, 1] ** 2 for how in ("pearson", "spearman")))
    levels = _levels(column, values)
    sums, counts = np.bincount(levels, target - target.mean()), np.bincount(levels)
    if (counts > 0).sum() > len(levels) / 5:
        return 0.0
    total = float(((target - target.mean()) ** 2).sum())
    return float((sums[counts > 0] ** 2 / counts[counts > 0]).sum()) / total if total else 0.0


def _levels(column: Column, values: pd.Series) -> np.ndarray:
    """A number (N,) for each row: the column's category, or which of its quantiles the value lies in."""
    if column.has_categories:
        return pd.factorize(as_category(values), use_na_sentinel=False)[0]
    found = read_numbers(column, values)
    edges = np.unique(np.nanquantile(found, np.linspace(0, 1, min(_BINS, len(found) // 10) + 1)[1:-1]))
    return np.where(np.isnan(found), len(edges) + 1, np.searchsorted(edges, found, side="right"))
