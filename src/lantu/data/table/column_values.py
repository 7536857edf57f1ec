"""Read the values of a column as training did: as numbers, or as codes of categories."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.table.column import Column
from lantu.data.table.kinds import present
from lantu.data.values import as_text, is_missing, notation, number, numbers, truths

UNUSUAL = 0.2
"""A column with a feature for rare categories reports unseen ones where their share exceeds training's by this much."""
Say = Callable[[str], None]
"""Takes a sentence for the user."""


def read_numbers(column: Column, values: pd.Series, say: Say | None = None) -> np.ndarray:
    """Return a number, date or boolean column as float64 (N,); NaN for what is missing or cannot be read.

    Args:
        say: is told how many values could not be read.
    """
    if column.kind == "boolean":
        found = truths(values)
    elif column.kind == "date":
        found = dates.seconds(values, column.format)
    else:
        found = numbers(values, decimal=column.decimal, unit=column.unit)
    unread = ~np.isfinite(found) & values.notna().to_numpy()
    if unread.any():
        found = _read_otherwise(column, values, found, unread, say)
        unread &= ~np.isfinite(found)
    if unread.any() and say is not None:
        what = {"boolean": "neither true nor false", "date": "not dates"}.get(column.kind, "not numbers")
        examples = _examples(values.to_numpy()[unread])
        say(
            f"`{column.name}`: {int(unread.sum()):,} of {len(values):,} values are {what} ({examples}), "
            "treated as missing"
        )
    return found


def _read_otherwise(
    column: Column, values: pd.Series, found: np.ndarray, unread: np.ndarray, say: Say | None
) -> np.ndarray:
    """Read what the column's own notation does not: yes and no for 1 and 0, or a file with the other decimal sign."""
    if column.binary:
        return np.where(unread, truths(values), found)
    if column.kind != "number" or pd.api.types.is_numeric_dtype(values):
        return found
    other = "," if column.decimal == "." else "."
    texts = [text for text in present(values).astype(str).unique() if not is_missing(text)]
    if not texts or notation(texts)[::2] != (other, True):
        return found
    if not np.isfinite([number(text, other, column.unit) for text in texts]).all():
        return found
    if say is not None:
        say(f"`{column.name}`: read with a decimal {'comma' if other == ',' else 'point'}, unlike in training")
    return numbers(values, decimal=other, unit=column.unit)


def as_category(values: pd.Series) -> pd.Series:
    """Return values as stripped texts; None where there is none."""
    return as_text(values).str.strip().astype(object).where(values.notna().to_numpy(), None)


def missing_categories(values: pd.Series) -> np.ndarray:
    """Return which categories (N,) are missing, such as n/a."""
    return values.isna().to_numpy() | as_category(values).map(is_missing, na_action="ignore").eq(True).to_numpy()


def category_codes(column: Column, values: pd.Series, say: Say | None = None) -> np.ndarray:
    """Return the place (N,) of each value among the column's categories.

    A category without a feature of its own has the place after the last if the column has `others`; that and what is
    missing is -1 otherwise.

    Args:
        say: is told how many values were not seen in training, where that is unusual.
    """
    if not (column.categories or column.others):
        return np.full(len(values), -1)
    texts = as_category(values)
    codes = pd.Categorical(texts, categories=column.categories).codes.astype(np.int64)
    unseen = codes < 0
    if unseen.any():
        unseen &= ~missing_categories(values)
        places = normalized_places(column)
        found = texts.map(lambda text: places.get(normalize(text), -1), na_action="ignore")
        codes = np.where(unseen, found.fillna(-1).to_numpy(dtype=np.int64), codes)
        unseen &= codes < 0
    # of a column with rare values some are always new
    if say is not None and unseen.mean() > (column.rare + UNUSUAL if column.others else 0):
        say(
            f"`{column.name}`: {int(unseen.sum()):,} of {len(values):,} values are not among the training rows' "
            f"({_examples(texts[unseen])})"
        )
    return np.where(unseen, len(column.categories), codes) if column.others else codes


def normalized_places(column: Column) -> dict[str, int]:
    """Return the places of the categories by normalized name; -1 for a name that several have.

    Codes of one length, such as 00123, are found without the leading zeros that spreadsheets cut off, too.
    """
    places: dict[str, int] = {}
    for code, name in enumerate(column.categories):
        places[normalize(name)] = -1 if normalize(name) in places else code
    if len({len(name) for name in column.categories}) == 1 and all(name.isdecimal() for name in column.categories):
        for name in column.categories:
            places.setdefault(name.lstrip("0") or "0", places[name])
    return places


def normalize(text: str) -> str:
    """Return a name without letter case and repeated spaces."""
    return " ".join(str(text).casefold().split())


def _examples(values: "pd.Series | np.ndarray") -> str:
    """The three commonest of some values, quoted."""
    texts = pd.Series(values).astype(str).value_counts().index
    return ", ".join(repr(text[:20]) for text in texts[:3]) + (", ..." if len(texts) > 3 else "")
