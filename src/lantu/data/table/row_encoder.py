"""Encode one row of a table in plain Python: the same bits as `encode` of a table of that row alone.

A data frame of one row costs milliseconds; this takes microseconds. Columns of dates and of free text go through
`encode_column`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import isfinite, isnan
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.table.column import QUANTILE_LEVELS, Column
from lantu.data.table.column_values import normalize, normalized_places, read_numbers
from lantu.data.table.encode_columns import MOST_DEVIATIONS, PIECES_BEYOND, encode_column
from lantu.data.table.target_features import TargetFeatures
from lantu.data.values import FALSE, TRUE, as_float, is_missing
from lantu.errors import UserError

Encoder = Callable[[Any], list[float]]
_SHORT = re.compile(r"[+-]?\d{1,9}(\.\d{1,6})?")
"""Texts that every way of reading a number reads as the same float64."""


class RowEncoder:
    """From a row's values by name to its features.

    Args:
        columns: as they were learned.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = list(columns)
        self._encoders = [(column.name, _encoder(column)) for column in self.columns]
        self._by_normalized = {normalize(column.name): column.name for column in self.columns}
        self.features = sum(len(column.features) for column in self.columns)

    def encode(self, row: Mapping[str, Any]) -> np.ndarray:
        """(features,) float32.

        Raises:
            UserError: a column that the training rows had is not there, or a value is neither text nor a number.
        """
        if any(name not in row for name, _ in self._encoders):
            row = self._renamed(row)
        features: list[float] = []
        for name, encode in self._encoders:
            value = row[name]
            if not (value is None or isinstance(value, str | int | float)):
                raise UserError(
                    f"`{name}` is a {type(value).__name__}; a value is text, a number, true, false or null."
                )
            features += encode(value)
        return np.array(features, dtype=np.float64).astype(np.float32)

    def warnings(self, row: Mapping[str, Any]) -> list[str]:
        """A sentence for each value that stands in the row and counts as missing or as another one.

        Args:
            row: one that `encode` has taken.
        """
        if any(column.name not in row for column in self.columns):
            row = self._renamed(row)
        return [sentence for column in self.columns if (sentence := _warning(column, row[column.name]))]

    def _renamed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """With letter case and spaces of names as in training."""
        named = {**{self._by_normalized.get(normalize(str(name)), name): value for name, value in row.items()}, **row}
        lacking = [name for name, _ in self._encoders if name not in named]
        if lacking:
            raise UserError(f"The row lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}.")
        return named


def _warning(column: Column, value: Any) -> str:
    text = _text(value)
    if text is None or is_missing(text) or column.kind == "text" or column.text:
        return ""
    if column.kind == "number":
        found = _read(column, value)
        if not isfinite(found):
            return f"`{column.name}`: {text[:40]!r} is no number; taken as missing"
        if (column.scales or not column.quantiles) and abs(found - column.mean) > MOST_DEVIATIONS * column.std:
            return f"`{column.name}`: {text[:40]!r} is further from the training values than a number counts"
    if column.kind == "category":
        known = text in column.categories or normalized_places(column).get(normalize(text), -1) >= 0
        return "" if known else f"`{column.name}`: {text[:40]!r} did not occur in training"
    return ""


def _encoder(column: Column) -> Encoder:
    if column.kind in ("date", "text") or column.text:
        return lambda value: encode_column(column, _series(value))[0].tolist()
    if column.kind == "category":
        return _category(column)
    return _truth(column) if column.kind == "boolean" else _number(column)


def _series(value: Any) -> pd.Series:
    return pd.Series([value])


def _number(column: Column) -> Encoder:
    scaled = _scaling(column)

    def encode(value: Any) -> list[float]:
        found = _read(column, value)
        absent = not isfinite(found)
        features = scaled(column.median if absent else found)
        return [*features, float(absent)] if column.marks_missing else features

    return encode


def _scaling(column: Column) -> Callable[[float], list[float]]:
    mean, std = column.mean, column.std

    def standardised(found: float) -> float:
        return min(max((found - mean) / std, -MOST_DEVIATIONS), MOST_DEVIATIONS)

    if not column.quantiles:
        return lambda found: [standardised(found)]
    from scipy.special import ndtri

    quantiles, scores = np.array(column.quantiles), np.array(column.scores or ndtri(QUANTILE_LEVELS))
    if column.scales:
        pieces = _pieces(column.edges)
        return lambda found: [standardised(found), float(np.interp(found, quantiles, scores)), *pieces(found)]
    return lambda found: [float(np.interp(found, quantiles, scores))]


def _pieces(edges: list[float]) -> Callable[[float], list[float]]:
    """As `encode_columns` has a number's pieces."""
    last = len(edges) - 2
    pieces = [
        (low, high - low, -PIECES_BEYOND if place == 0 else 0.0, PIECES_BEYOND if place == last else 1.0)
        for place, (low, high) in enumerate(pairwise(edges))
    ]
    return lambda found: [min(max((found - low) / width, least), most) for low, width, least, most in pieces]


def _read(column: Column, value: Any) -> float:
    """As `read_numbers` reads a column of this one value; NaN for none."""
    if value is None:
        return np.nan
    if isinstance(value, bool | int | float):
        return as_float(value)
    return _read_text(column, value)


def _read_text(column: Column, text: str) -> float:
    if column.decimal == "." and _SHORT.fullmatch(text):
        return float(text)
    return _read_other(column.name, column.decimal, column.unit, column.binary, text)


@lru_cache(maxsize=1 << 14)
def _read_other(name: str, decimal: str, unit: str, binary: bool, text: str) -> float:
    blank = Column(name, "number", "string", decimal=decimal, unit=unit, binary=binary)
    return float(read_numbers(blank, _series(text))[0])


def _truth(column: Column) -> Encoder:
    scaled = _scaling(column)

    def encode(value: Any) -> list[float]:
        if isinstance(value, str):
            text = value.strip().lower()
            found = 1.0 if text in TRUE or text in ("1", "1.0") else 0.0
            found = found if found or text in FALSE or text in ("0", "0.0") else np.nan
        else:
            found = float(value) if value in (0, 1) and value is not None else np.nan
        absent = isnan(found)
        features = scaled(column.median if absent else found)
        return [*features, float(absent)] if column.marks_missing else features

    return encode


def _category(column: Column) -> Encoder:
    places = {name: place for place, name in enumerate(column.categories)}
    normalized = normalized_places(column)
    count, others, marks = len(places), column.others, column.marks_missing
    target = TargetFeatures(column.target) if column.target else None

    def encode(value: Any) -> list[float]:
        text = _text(value)
        absent = text is None or is_missing(text)
        features = [0.0] * count
        place = -1 if text is None else places.get(text, -1)
        if place < 0 and not absent and text is not None:
            place = normalized.get(normalize(text), -1)
        if place >= 0:
            features[place] = 1.0
        if others:
            features.append(float(place < 0 and not absent))
        if target is not None:
            features += target.encode_one(text)
        if marks:
            features.append(float(absent))
        return features

    return encode


def _text(value: Any) -> str | None:
    """A value as the name of a category, as `as_category` has it."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, float) and value % 1 == 0 and abs(value) < 2**63:
        return str(int(value))
    return str(value).strip()
