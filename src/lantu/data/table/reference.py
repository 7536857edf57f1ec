"""The distribution of each training column, stored in the checkpoint for comparison with new rows."""

from typing import Any

import numpy as np
import pandas as pd

from lantu.data.table.column import Column
from lantu.data.table.column_values import as_category, missing_categories, read_numbers

POINTS = 400
"""Quantiles that describe a column's distribution; the distribution function is exact to within 1 / POINTS."""


def reference(rows: pd.DataFrame, columns: list[Column], *, most: int | None = None) -> dict[str, Any]:
    """Return each column's rows, missing values and distribution: `points` of numbers, `counts` of categories.

    Args:
        most: categories of a column that are kept, the commonest; None: all.
    """
    return {"columns": {each.name: described(rows[each.name], each, most=most) for each in columns}}


def described(values: pd.Series, column: Column, *, most: int | None = None) -> dict[str, Any]:
    """Describe the distribution of a column's values.

    Returns:
        `rows`, `missing`; of numbers and dates `points` (evenly spaced order statistics), `low` and `high`; of
        categories and booleans `counts` by name, of the `most` commonest; `kind`.
    """
    found: dict[str, Any] = {"kind": column.kind, "rows": len(values)}
    if column.has_categories:
        there = as_category(values)[~missing_categories(values)].astype(str)
        found["missing"] = len(values) - len(there)
        if column.kind == "category":
            counts = there.value_counts()
            found["counts"] = {str(name): int(count) for name, count in counts.iloc[:most].items()}
        return found
    numbers = read_numbers(column, values)
    there_numbers = numbers[np.isfinite(numbers)]
    found["missing"] = len(values) - len(there_numbers)
    if column.kind == "boolean" or column.binary:
        share = there_numbers > 0.5
        found["counts"] = {"true": int(share.sum()), "false": int((~share).sum())}
    elif len(there_numbers):
        levels = (np.arange(POINTS) + 0.5) / POINTS
        points = (
            there_numbers if len(there_numbers) <= POINTS else np.quantile(there_numbers, levels, method="inverted_cdf")
        )
        found["points"] = np.sort(points).tolist()
        found["low"], found["high"] = float(there_numbers.min()), float(there_numbers.max())
    return found
