"""Read texts as numbers, dates and booleans, in the ways that spreadsheets write them."""

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pandas as pd

MISSING = frozenset(
    {
        "",
        "na",
        "n/a",
        "#n/a",
        "n.a.",
        "nan",
        "-nan",
        "null",
        "none",
        "nil",
        "<na>",
        "nat",
        "-",
        "--",
        "?",
        ".",
        "missing",
    }
)
"""Lower-case texts that say that there is no value."""
BOOLEANS = (
    ("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"), ("ja", "nein"), ("wahr", "falsch"),
    ("oui", "non"), ("vrai", "faux"), ("sí", "no"), ("si", "no"), ("sim", "não"), ("是", "否"),
)  # fmt: skip
TRUE = frozenset(yes for yes, _ in BOOLEANS)
FALSE = frozenset(no for _, no in BOOLEANS)
_CURRENCY = re.compile(
    r"(?i)[$€£¥₹₽₩₪฿]|\b(?:usd|eur|gbp|chf|jpy|cny|sek|nok|dkk|pln|cad|aud|inr|brl|fr\.|kr\.?)(?![a-z])"
)
_SPACES = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'", "`": "'"}
)
_GROUPED = {
    ".": r"(?:\d{1,3}(?P<g>[, '_])\d{3}(?:(?P=g)\d{3})*|\d{1,2}(?:,\d{2})+,\d{3}|\d+)",
    ",": r"(?:\d{1,3}(?P<g>[. '_])\d{3}(?:(?P=g)\d{3})*|\d+)",
}
_NUMBER = {
    sign: re.compile(rf"[+-]? ?(?:{whole}(?:{re.escape(sign)}\d*)?|{re.escape(sign)}\d+)(?:[eE][+-]?\d+)?")
    for sign, whole in _GROUPED.items()
}
_GROUPING = {".": re.compile(r"[, '_]"), ",": re.compile(r"[. '_]")}
_UNIT = re.compile(r"(.*\d[.,]?)\s*([^\W\d_][\w/.²³°]*|°[CF]?)")


def is_missing(text: str) -> bool:
    """Whether a text says that there is no value, such as "n/a"."""
    return text.strip().lower() in MISSING


def is_number(text: str) -> bool:
    """Whether a text is a number in one of the common notations."""
    return not (np.isnan(number(text, ".")) and np.isnan(number(text, ",")))


@lru_cache(maxsize=1 << 16)
def number(text: str, decimal: str = ".", unit: str = "") -> float:
    """One number, with thousands signs, a currency or percent sign, or accountants' brackets; NaN if it is none.

    Args:
        decimal: "." or ",".
        unit: a word behind the number, such as kg.
    """
    text = text.strip().translate(_SPACES)
    negative = text.startswith("(") and text.endswith(")")
    text = _CURRENCY.sub("", text[1:-1] if negative else text).strip().removesuffix("%").strip()
    if unit and text.lower().endswith(unit.lower()):
        text = text[: -len(unit)].strip()
    if text.endswith("-") and text[:1].isdigit():  # as SAP writes it
        negative, text = True, text[:-1].strip()
    match = _NUMBER[decimal].fullmatch(text)
    if match is None or (negative and text[:1] in "+-"):
        return np.nan
    grouping = _GROUPING[decimal]
    if "e" in text.lower() and grouping.search(text):
        return np.nan  # nobody groups the digits before an exponent: 4,959e+01 has a decimal comma
    text = grouping.sub("", text).replace(",", ".")
    return -float(text) if negative else float(text)


def numbers(values: pd.Series, *, decimal: str = ".", unit: str = "") -> np.ndarray:
    """Numbers (N,) float64 of a column of numbers or texts; NaN for what is none."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    codes, uniques = pd.factorize(values)
    if decimal == ".":
        read = pd.to_numeric(pd.Series(uniques, dtype=object), errors="coerce").to_numpy(np.float64, copy=True)
    else:
        read = np.full(len(uniques), np.nan)
    for place in np.flatnonzero(np.isnan(read)):
        value = uniques[place]
        if isinstance(value, str):
            read[place] = number(value, decimal, unit)
        elif isinstance(value, int | float | np.number):
            read[place] = as_float(value)
    return np.append(read, np.nan)[codes]


def as_float(value: "float | np.number") -> float:
    """A number as float64; infinity for a whole number beyond its range, as JSON can hold."""
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def as_text(values: pd.Series) -> pd.Series:
    """Values as their names: 1.0, which is what an integer becomes beside a missing value, is "1"."""
    there = values.dropna()
    if pd.api.types.is_float_dtype(values) and ((there % 1 == 0) & (there.abs() < 2**63)).all():
        values = values.astype("Int64")
    return values.astype(str)


def truths(values: pd.Series) -> np.ndarray:
    """1 and 0 (N,) float64 of a column of booleans in any notation; NaN for what is none."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        found = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where((found == 0) | (found == 1), found, np.nan)
    codes, uniques = pd.factorize(values)
    return np.append(np.array([_truth(value) for value in uniques], dtype=np.float64), np.nan)[codes]


def is_boolean(texts: Iterable[str]) -> bool:
    """Whether texts are the two words of one notation, such as yes and no."""
    lowered = {text.strip().lower() for text in texts}
    return any(lowered == set(pair) for pair in BOOLEANS)


def notation(texts: list[str]) -> tuple[str, str, bool]:
    """How most of a column's texts are to be read as numbers: the decimal sign, a unit, and whether that is sure.

    Sure is a column in which some value reads as a number in one notation only, such as 3,5 or 1,234.5; 1,234 does in
    both. Where none is, the answer is a decimal point.
    """
    unit = _common_unit(texts)
    point = np.array([number(text, ".", unit) for text in texts])
    comma = np.array([number(text, ",", unit) for text in texts])
    only_point = int((~np.isnan(point) & np.isnan(comma)).sum())
    only_comma = int((~np.isnan(comma) & np.isnan(point)).sum())
    if only_comma > only_point:
        return ",", unit, True
    if only_point or not np.any(point != comma):
        return ".", unit, only_point > 0
    # both notations read all values; but 0,123 cannot be a thousand: a number has no leading zero
    zeros = {text.lstrip("+-(").translate(_SPACES)[:2] for text in texts}
    if "0," in zeros and "0." not in zeros:
        return ",", unit, True
    return ".", unit, "0." in zeros


def _common_unit(texts: list[str]) -> str:
    """A word that stands behind nearly every number, such as kg; empty if there is none."""
    if not texts or is_number(texts[0]):
        return ""
    found = [match[2] for text in texts if (match := _UNIT.fullmatch(text.strip()))]
    common = max(set(found), key=found.count) if found else ""
    return common if found.count(common) >= 0.95 * len(texts) else ""


def _truth(value: object) -> float:
    text = str(value).strip().lower()
    if text in TRUE or text in ("1", "1.0"):
        return 1.0
    return 0.0 if text in FALSE or text in ("0", "0.0") else np.nan
