"""Read texts as dates and times, in one format for a whole column."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

ISO = "ISO8601"
ENOUGH = 0.95
"""Share of a column's texts that one format must read."""
_TIME = re.compile(
    r"(?P<before>,? |T)?(?P<time>\d{1,2}:\d{2}(?P<second>:\d{2}(?P<fraction>\.\d+)?)?)(?P<half> ?[AaPp]\.?[Mm]\.?)?$"
)
_IN_UTC = re.compile(r"(?<=\d) (?:UTC|GMT)$")
"""What may stand behind a time, which is read in UTC anyway."""
_NUMERIC = re.compile(r"\d{1,4}([/.\- ])\d{1,2}\1\d{1,4}\.?")
_NAMED = (
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %y", "%b %d %Y", "%b %d, %Y", "%d. %b %Y", "%d/%b/%Y"),
    *("%d %B %Y", "%B %d %Y", "%B %d, %Y", "%d. %B %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%A, %d %B %Y", "%a %d %b %Y"),
    *("%b-%Y", "%b %Y", "%b-%y", "%B %Y", "%b, %Y", "%Y-%b-%d", "%Y %b %d", "%Y-%b"),
)


@dataclass(frozen=True)
class Format:
    """How the dates of a column are written."""

    format: str
    """As `strptime` takes it, or ISO8601."""
    ambiguous: str = ""
    """A value that day first and month first both read; empty where the column decides."""


def find_format(texts: list[str], *, day_first: bool | None = None) -> Format | None:
    """The format that reads nearly all texts, or None.

    Where day first and month first read equally many, dots say day first and anything else month first.

    Args:
        texts: different values, some thousand at most.
        day_first: what a person said.
    """
    texts = [_IN_UTC.sub("", text) for text in texts if any(sign.isdigit() for sign in text)]
    if not texts:
        return None
    series = pd.Series(texts, dtype=object)
    shapes = [re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", text)) for text in texts[:200]]
    typical = texts[shapes.index(max(set(shapes), key=shapes.count))]
    suffix = _time_format(typical)
    numeric = _NUMERIC.match(typical)
    if numeric and re.match(r"\d{4}", typical):
        sign = numeric[1]
        candidates = [ISO, *(f"%Y{sign}%m{sign}%d{suffix}",) * (sign != "-"), f"%Y{sign}%d{sign}%m{suffix}"]
    elif numeric:
        return _day_or_month_first(series, numeric[1], suffix, day_first)
    elif suffix and _TIME.fullmatch(typical):
        candidates = [suffix]
    elif re.fullmatch(r"\d{1,2}[/-]\d{4}", typical):
        candidates = [f"%m{re.sub('[0-9]', '', typical)}%Y"]
    elif typical[:4].isdigit() and re.match(r"\d{4}-\d|\d{4}W|\d{8}T", typical):
        candidates = [ISO]
    else:
        candidates = [f"{date}{suffix}" for date in _NAMED]
    read = {candidate: float(np.mean(~np.isnan(_parsed(series, candidate)))) for candidate in candidates}
    best = max(read, key=lambda each: read[each], default=None)
    return Format(best) if best is not None and read[best] >= ENOUGH else None


def seconds(values: pd.Series, format: str = ISO) -> np.ndarray:
    """Seconds since 1970 (N,) float64; NaN for what is no date.

    Dates with a time zone are taken in UTC. Typed dates are read whatever the format, and texts that it does not read
    are tried as ISO 8601, which is how databases and JSON write them.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return _seconds(values)
    if pd.api.types.is_numeric_dtype(values):
        if format != "%Y%m%d":
            return np.full(len(values), np.nan)
        values = values.astype("Int64").astype("string")
    codes, uniques = pd.factorize(values)
    texts = pd.Series([str(each).strip() for each in uniques], dtype=object)
    read = _parsed(texts, format)
    if format != ISO and (lacking := np.isnan(read)).any():
        read[lacking] = _parsed(texts[lacking], ISO)
    return np.append(read, np.nan)[codes]


def _day_or_month_first(series: pd.Series, sign: str, suffix: str, day_first: bool | None) -> Format | None:
    long = series.str.contains(rf"^\d{{1,2}}{re.escape(sign)}\d{{1,2}}{re.escape(sign)}\d{{4}}")
    year = "%Y" if long.mean() > 0.5 else "%y"
    day, month = f"%d{sign}%m{sign}{year}{suffix}", f"%m{sign}%d{sign}{year}{suffix}"
    by_day, by_month = (~np.isnan(_parsed(series, each)) for each in (day, month))
    if max(by_day.mean(), by_month.mean()) < ENOUGH:
        return None
    if day_first is not None and (by_day if day_first else by_month).mean() >= ENOUGH:
        return Format(day if day_first else month)
    if by_day.sum() != by_month.sum():
        return Format(day if by_day.sum() > by_month.sum() else month)
    doubtful = [text for text in series if text[:2] != text[3:5]]
    return Format(day if sign == "." else month, ambiguous=doubtful[0] if doubtful else "")


def _time_format(text: str) -> str:
    match = _TIME.search(text)
    if match is None:
        return ""
    hour, half = ("%I", " %p" if match["half"].startswith(" ") else "%p") if match["half"] else ("%H", "")
    second = "%S.%f" if match["fraction"] else "%S"
    return f"{match['before'] or ''}{hour}:%M{':' + second if match['second'] else ''}{half}"


def _parsed(texts: pd.Series, format: str) -> np.ndarray:
    texts = texts.str.replace(_IN_UTC, "", regex=True)
    if format == "%Y%m%d":
        texts = texts.where(texts.str.fullmatch(r"\d{8}"))
    return _seconds(pd.to_datetime(texts, errors="coerce", utc=True, format=format))


def _seconds(dates: pd.Series) -> np.ndarray:
    whole = dates.astype("datetime64[us, UTC]" if dates.dt.tz else "datetime64[us]")
    return np.where(dates.isna(), np.nan, whole.astype("int64") / 1e6)
