"""What each column of a table is: number, category, date, text, key, constant, nested. Found on the training rows."""

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.values import as_text, is_boolean, is_missing, is_number, notation, number

Name = Literal["number", "boolean", "date", "category", "text", "key", "constant", "nested"]
FEW = 50
"""A column of texts with at most so many different ones is a category, whatever they look like."""
ENOUGH = 0.95
"""Share of a column's non-missing values that must read as numbers or dates."""
_SAMPLE = 2_000
"""Different values that are looked at to find a column's notation."""
_LEAST_ROWS = 20
"""A column of fewer rows is not called a key: anything may differ in all of them."""
_KEY_NAME = re.compile(
    r"(?i)(^|[\W_])(id|idx|index|key|uuid|guid|rownames?|row[\W_]?(id|no|nr|number)?|serial|s?no|nr)\.?$|^unnamed: \d+$"
)
_MANY_DATES = 10
"""So many different numbers of eight digits that are all days, such as 20240131, are dates whatever the column's name:
of other numbers between 19000101 and 20991231, one in thirty is a day."""
_DATE_NAME = re.compile(r"(?i)date|datum|day|tag$|fecha|time|_at$|_on$|dt$")


@dataclass(frozen=True)
class Kind:
    """What a column is, and how its texts are read."""

    name: Name
    decimal: str = "."
    unit: str = ""
    format: str = ""
    """Of dates."""
    share: float = 1.0
    """Share of the non-missing values that read as such."""
    notes: list[str] = field(default_factory=list)
    """What was assumed, as sentences that begin with the column's name."""
    sure: bool = True
    """Whether the decimal sign is known from the values and not assumed."""


def kinds_of(
    rows: pd.DataFrame, *, day_first: bool | None = None, keep: frozenset[str] = frozenset()
) -> dict[str, Kind]:
    """The kind of each column of the training rows.

    Args:
        day_first: how 03/04/2020 is read where a column does not decide it.
        keep: columns that are inputs even if they look like keys.
    """
    found = {str(name): _kind(rows[name], str(name) in keep, day_first=day_first) for name in rows}
    decided = {kind.decimal for kind in found.values() if kind.name == "number" and kind.sure}
    semicolons = rows.attrs.get("separator") == ";" and "." not in decided
    for name, kind in found.items():
        if kind.name != "number" or kind.sure or pd.api.types.is_numeric_dtype(rows[name]):
            continue
        texts = _texts(rows[name])
        # an exponent stands behind a decimal sign: 1.234E-01 is not 1,234
        example = next((text for text in texts if re.search(r"\d[.,]\d{3}(?!\d*[eE])", text)), None)
        if example is None:
            continue
        comma = decided == {","} or (semicolons and "," in example and "." not in example)
        decimal = "," if comma else "."
        read = f"`{name}`: {example} is read as {number(example, decimal, kind.unit):,g}"
        found[name] = Kind(
            "number", decimal, kind.unit, share=kind.share, notes=[f"{read}; nothing in the column decides"]
        )
    return found


def present(values: pd.Series) -> pd.Series:
    """Return the non-missing values: neither empty nor a text such as "n/a"."""
    found = values.dropna()
    if pd.api.types.is_numeric_dtype(found) or pd.api.types.is_datetime64_any_dtype(found):
        return found
    codes, uniques = pd.factorize(found)
    real = np.array([not is_missing(str(value)) for value in uniques], dtype=bool)
    return found[real[codes]] if len(uniques) else found


def is_nested(values: pd.Series) -> bool:
    """Whether a column holds lists, mappings or bytes, as JSON lines and Parquet can."""
    if values.dtype != object:
        return False
    return any(isinstance(value, list | dict | tuple | set | bytes | np.ndarray) for value in values)


def is_key_name(name: str) -> bool:
    """Whether a name says that its column numbers the rows, such as customer_id."""
    return bool(_KEY_NAME.search(name) or re.search(r"[a-z]I[Dd]$", name))


def _kind(values: pd.Series, kept: bool, *, day_first: bool | None) -> Kind:
    if is_nested(values):
        return Kind("nested")
    there = present(values)
    # one value and gaps still tell rows apart
    if there.nunique() < 2 and (there.empty or len(there) == len(values)):
        return Kind("constant")
    if pd.api.types.is_bool_dtype(values):
        return Kind("boolean")
    if isinstance(values.dtype, pd.CategoricalDtype):
        return Kind("category")
    if pd.api.types.is_datetime64_any_dtype(values):
        return Kind("date")
    if pd.api.types.is_numeric_dtype(values):
        numbers = there.to_numpy(dtype=np.float64)
        return Kind("key") if not kept and _numbers_rows(numbers, str(values.name)) else Kind("number")
    texts = there.astype(str).str.strip()
    counts = texts.value_counts()
    kind = _of_texts(counts, str(values.name), day_first=day_first)
    if kind.name == "number" and not kept:
        numbers = np.array([number(text, kind.decimal, kind.unit) for text in texts])
        return Kind("key") if _numbers_rows(numbers, str(values.name)) else kind
    return Kind("category") if kind.name == "key" and kept else kind


def _of_texts(counts: pd.Series, name: str, *, day_first: bool | None) -> Kind:
    """The kind of a column of texts from how often each occurs."""
    texts = [str(text) for text in counts.index]
    if is_boolean(texts):
        return Kind("boolean")
    total = int(counts.sum())
    codes = sum(bool(re.fullmatch(r"0\d+", text)) for text in texts)
    is_code = codes > 0 and len({len(text) for text in texts}) == 1 and all(text.isdigit() for text in texts)
    if not is_code:
        likely = bool(_DATE_NAME.search(name)) or len(texts) >= _MANY_DATES
        if likely and all(re.fullmatch(r"(19|20)\d{6}", text) for text in texts):
            read = dates.seconds(pd.Series(texts[:_SAMPLE], dtype=object), "%Y%m%d")
            if not np.isnan(read).any():
                return Kind("date", format="%Y%m%d", notes=[f"`{name}`: {texts[0]} is read as a date"])
        decimal, unit, sure = notation(texts[:_SAMPLE])
        reads = np.array([not np.isnan(number(text, decimal, unit)) for text in texts])
        share = float(counts.to_numpy()[reads].sum()) / total
        few_words = len(texts) - reads.sum() <= 5 and reads.sum() > 20 and share >= 0.5
        if share >= ENOUGH or few_words:
            return Kind("number", decimal, unit, share=share, sure=sure)
        found = dates.find_format(texts[:_SAMPLE], day_first=day_first)
        if found is not None:
            return _date(found, name, texts, day_first)
        either = np.array([is_number(text) for text in texts])
        if counts.to_numpy()[either].sum() / total >= ENOUGH:
            first, second = (next(text for text in texts if sign in text) for sign in ".,")
            mixed = (
                f"`{name}`: decimal points and decimal commas are mixed ({first}, {second}), so the column is read as"
            )
            return Kind("category", notes=[f"{mixed} categories; write its numbers one way"])
    notes = dates_of_two_kinds(texts, name)
    words = float(np.average([len(text.split()) for text in texts], weights=counts))
    if len(texts) <= FEW and not (len(texts) == total >= _LEAST_ROWS):
        return Kind("category", notes=notes)
    if len(texts) >= 0.99 * total and total >= _LEAST_ROWS and words < 2:
        return Kind("key", notes=notes)
    return Kind("text") if words >= 3 and len(texts) > 0.3 * total else Kind("category", notes=notes)


def dates_of_two_kinds(texts: list[str], name: str) -> list[str]:
    """A sentence on a column whose values are dates, but are not all written one way; none for another column."""
    looks = [text for text in texts[:_SAMPLE] if re.search(r"\d{1,4}([-/. ])(\d{1,2}|[A-Za-z]{3,9})\1\d{1,4}", text)]
    if len(looks) < ENOUGH * len(texts[:_SAMPLE]):
        return []
    shapes = {re.sub(r"[A-Za-z]+", "A", re.sub(r"\d+", "0", text)): text for text in reversed(looks)}
    if len(shapes) < 2:
        return []
    shown = ", ".join(list(shapes.values())[:3])
    return [f"`{name}`: dates are written in several ways ({shown}), so the column is no date; write them one way"]


def _date(found: dates.Format, name: str, texts: list[str], day_first: bool | None) -> Kind:
    notes = []
    if found.ambiguous and day_first is None:
        first, other = ("day", "false") if found.format.startswith("%d") else ("month", "true")
        notes.append(
            f"`{name}`: {found.ambiguous} is read {first} first, which no value of the column decides; "
            f"`data.day_first={other}` reads it the other way"
        )
    read = dates.seconds(pd.Series(texts, dtype=object), found.format)
    return Kind("date", format=found.format, share=float(np.mean(~np.isnan(read))), notes=notes)


def _numbers_rows(numbers: np.ndarray, name: str) -> bool:
    """Whether numbers are whole, differ in every row, and number the rows: by the column's name, or without gaps.

    Training rows are some of the rows, so at least half of the range must be there.
    """
    if len(numbers) < _LEAST_ROWS or not np.all(numbers % 1 == 0) or len(np.unique(numbers)) < len(numbers):
        return False
    return is_key_name(name) or len(numbers) >= 0.5 * (numbers.max() - numbers.min() + 1)


def _texts(values: pd.Series) -> list[str]:
    return [str(text) for text in as_text(present(values)).unique()[:_SAMPLE]]
