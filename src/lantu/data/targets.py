"""Read the target of a table of texts: numbers as numbers, classes without their typing errors."""

from collections import Counter

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.cleaning_report import Report
from lantu.data.labels import MOST_CLASSES, loose
from lantu.data.values import is_missing, notation, number
from lantu.errors import UserError

ENOUGH = 0.95
"""Share of the values that must read as numbers for the target to be one."""
FAR = 1000.0
"""Times as far from the median as any other value: from there on a target is said to stand apart. The largest of values
whose tail falls as slowly as 1/x is so in one column of a thousand."""
APART = 0.05
"""Share of a column's values that may stand apart; more of them are a part of what is to be learned."""
_WRITTEN_BY_PROGRAMS = ("nan", "-nan", "null", "<na>", "nat", "#n/a", "")
"""What programs write for a missing value; other words for it may be a person's class."""


def check_single(values: pd.Series) -> None:
    """Refuse a column of lists or dictionaries, as JSON and Parquet have them: a target is one value.

    Raises:
        UserError: a cell holds several values.
    """
    several = next((each for each in values if isinstance(each, list | tuple | dict | set | np.ndarray)), None)
    if several is not None:
        raise UserError(
            f"`data.target={values.name}` holds several values in a cell, such as {str(several)[:60]}. A target is one "
            "class or number for each row. Make a column for each of them, and name one: `data.target=COLUMN`."
        )


def read_target(values: pd.Series, *, task: str, report: Report) -> pd.Series:
    """A column of texts as float64 numbers or as class names, with NaN where a value is missing.

    Args:
        task: classification, regression or auto, in which case numbers are numbers.
        report: is told what was read how.

    Raises:
        UserError: numbers are asked for and the column holds none, or it holds dates.
    """
    name = values.name
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return values
    texts = values.astype(object).where(values.notna(), None).map(lambda text: str(text).strip(), na_action="ignore")
    counts = Counter(text for text in texts.dropna() if text)
    real = [text for text in counts if not is_missing(text)]
    if task != "classification" and real:
        decimal, unit, _ = notation(real[:5_000])
        reads = {text: number(text, decimal, unit) for text in real}
        share = sum(counts[text] for text in real if not np.isnan(reads[text])) / sum(counts[text] for text in real)
        is_code = all(text.isdigit() for text in real) and any(text[:1] == "0" and len(text) > 1 for text in real)
        if (share >= ENOUGH and not is_code) or (task == "regression" and share >= 0.5):
            return _as_numbers(texts, reads, report, decimal=decimal, unit=unit)
        found = dates.find_format(real[:1_000])
        if found is not None and (len(real) > MOST_CLASSES or task == "regression"):
            raise UserError(
                f"`data.target={name}` holds dates such as {real[0]}, which can neither be classes nor be predicted as "
                "numbers. Add a column with the days (or another number) until then, and name that."
            )
        if task == "regression":
            raise UserError(f"`data.task=regression`: the column {name!r} does not hold numbers, but {real[0]!r}, ...")
    return _as_classes(texts, counts, report)


def _as_numbers(texts: pd.Series, reads: dict[str, float], report: Report, *, decimal: str, unit: str) -> pd.Series:
    name = texts.name
    unread = [text for text in texts.dropna() if text and np.isnan(reads.get(text, np.nan))]
    if unread:
        shown = ", ".join(repr(text[:20]) for text in list(dict.fromkeys(unread))[:3])
        report.say(f"`{name}`: {len(unread):,} of {len(texts):,} targets are not numbers ({shown})")
    special = next(
        (text for text in reads if any(sign in text for sign in ",%$€£'() ") and not np.isnan(reads[text])), None
    )
    if special is not None or unit or decimal == ",":
        example = special or next(iter(reads))
        report.say(f"`{name}`: {example} is read as {reads[example]:,.10g}")
    return texts.map(lambda text: reads.get(text, np.nan), na_action="ignore").astype(float)


def _as_classes(texts: pd.Series, counts: Counter[str], report: Report) -> pd.Series:
    """Classes under one spelling each: the most frequent one."""
    name, total = texts.name, sum(counts.values())
    classes = {text for text in counts if not is_missing(text)}
    for text in set(counts) - classes:
        if text.lower() not in _WRITTEN_BY_PROGRAMS and counts[text] >= max(5, 0.02 * total):
            classes.add(text)
            report.say(
                f"`{name}`: {text!r} stands in {counts[text]:,} rows and is taken for a class, not for a missing value"
            )
    spellings: dict[str, list[str]] = {}
    for text in sorted(classes, key=lambda each: (-counts[each], each)):
        spellings.setdefault(loose(text), []).append(text)
    for first, *others in spellings.values():
        if others:
            shown = ", ".join(repr(each) for each in others)
            report.say(f"`{name}`: {shown} ({sum(counts[each] for each in others):,} rows) read as the class {first!r}")
    known = {text: kept[0] for kept in spellings.values() for text in kept}
    return texts.map(known.get, na_action="ignore")


def warn_of_far(values: pd.Series, report: Report) -> None:
    """Warn of numbers so far from all others that, on one scale with them, the others are alike."""
    given = pd.to_numeric(values).to_numpy(dtype=np.float64)
    distances = np.abs(given - np.median(given))
    furthest = np.argsort(-distances, kind="stable")[: max(1, int(APART * len(given))) + 1]
    falling = distances[furthest]
    steps = np.flatnonzero((falling[1:] > 0) & (falling[:-1] > FAR * falling[1:]))
    if not len(steps):
        return
    number = int(steps[-1]) + 1
    others = np.delete(given, furthest[:number])
    count = "one row has" if number == 1 else f"{number:,} rows have values such as"
    report.warn(
        f"`{values.name}`: {count} {given[furthest[0]]:g}, and the others lie between {others.min():,.6g} and "
        f"{others.max():,.6g}. On one scale with it the others nearly coincide, and squared errors say nothing of "
        "them. Correct or remove such rows, or predict the logarithm"
    )
