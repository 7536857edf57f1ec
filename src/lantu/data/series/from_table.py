"""From a table to series: times in order, numbers, gaps and missing values counted. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.cleaning_report import Report
from lantu.data.values import is_missing, notation, numbers
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

PERIODS = {"hour": "h", "day": "D", "week": "W-SUN", "month": "MS", "quarter": "QS", "year": "YS"}
"""Stretches of time over which rows can be brought together, and pandas' names for them."""
AGGREGATES = ("mean", "sum", "count", "last")
TRANSFORMS = ("none", "difference", "log_return")


@dataclass(frozen=True)
class Series:
    """Several series on the same steps."""

    times: np.ndarray
    """Seconds since 1970 (M,), rising; the number of the row where the table has no times."""
    values: np.ndarray
    """(M, columns) float64; NaN where there is none."""
    row: np.ndarray
    """The table's row of each step (M,); -1 for a step that was filled in between, or brought together."""
    filled: np.ndarray | None = None
    """Whether a target of each step was missing and is the value before it (M,); None: nothing was filled in."""


def how_to_read(rows: pd.DataFrame, *, time: str | None, columns: Sequence[str]) -> dict[str, Any]:
    """How the texts of a table are to be read, as plain values: the format of its times, the notation of its numbers.

    Raises:
        UserError: there is no such column, or its values are no times or no numbers.
    """
    found: dict[str, Any] = {"time_format": dates.ISO, "decimals": {}, "units": {}}
    if time is not None:
        _check_column(rows, "data.time", time)
        if not pd.api.types.is_datetime64_any_dtype(rows[time]):
            texts = [str(each).strip() for each in rows[time].dropna().unique()[:2000]]
            format = dates.find_format([each for each in texts if not is_missing(each)])
            if format is None:
                raise UserError(
                    f"`data.time={time}`: its values are no dates ({', '.join(texts[:3])}, ...). Name the column with "
                    "the time of each row."
                )
            found["time_format"] = format.format
    for column in columns:
        _check_column(rows, "data.target or data.covariates", column)
        if pd.api.types.is_numeric_dtype(rows[column]):
            continue
        texts = [str(each) for each in rows[column].dropna().unique()[:2000] if not is_missing(str(each))]
        found["decimals"][column], found["units"][column], _ = notation(texts)
        read = numbers(pd.Series(texts, dtype=object), decimal=found["decimals"][column], unit=found["units"][column])
        if texts and np.isnan(read).mean() > 0.5:
            raise UserError(f"`{column}` is no series of numbers: it holds {', '.join(map(repr, texts[:3]))}, ...")
    return found


def number_columns(rows: pd.DataFrame, *, time: str | None) -> list[str]:
    """The columns of a table that hold numbers, without the time."""
    found = []
    for column in rows.columns:
        texts = [str(each) for each in rows[column].dropna().unique()[:200] if not is_missing(str(each))]
        if column != time and texts and not np.isnan(numbers(pd.Series(texts, dtype=object))).any():
            found.append(str(column))
    return found


def read_series(
    rows: pd.DataFrame,
    *,
    time: str | None,
    columns: Sequence[str],
    reading: dict[str, Any],
    every: str | None,
    aggregate: str | None,
    report: Report,
) -> Series:
    """Series in the order of time, with what was found said in the report.

    Args:
        time: the column with the moment of a row; None: rows stand in their order.
        columns: those to read.
        reading: as `how_to_read` found it.
        every: a step's length, such as day: steps without a row are filled in as missing. None: each row is a step.
        aggregate: how several rows of one step become one: mean, sum, count or last. None: there must be one.

    Raises:
        UserError: a column is missing, or several rows have one time and nothing says what to make of them.
    """
    for column in columns:
        _check_column(rows, "a series", column)
    read = [
        numbers(rows[each], decimal=reading["decimals"].get(each, "."), unit=reading["units"].get(each, ""))
        for each in columns
    ]
    values = np.column_stack(read)
    for column, found in zip(columns, read, strict=True):
        lost = int((np.isnan(found) & ~_empty(rows[column])).sum())
        report.note(lost, f"values of {column} that are no numbers taken as missing")
    if time is None:
        return Series(np.arange(len(rows), dtype=float), values, np.arange(len(rows)))
    _check_column(rows, "data.time", time)
    seconds = dates.seconds(rows[time], reading["time_format"])
    known = np.flatnonzero(~np.isnan(seconds))
    report.note(len(rows) - len(known), f"rows without a time in {time} left out")
    if (np.diff(seconds[known]) < 0).any():
        report.say(f"rows put in the order of {time}")
    row = known[np.argsort(seconds[known], kind="stable")]
    if aggregate is not None:
        period = every or "day"
        if aggregate in ("sum", "count"):
            report.say(f"the first and the last {period} count what the table has of them, whole {period}s or not")
        return _brought_together(seconds[row], values[row], every=period, how=aggregate)
    row = _without_repeats(seconds, values, row, time, report)
    series = Series(seconds[row], values[row], row)
    return series if every is None else _with_every_step(series, every, report)


def transformed(values: np.ndarray, how: str, names: Sequence[str]) -> np.ndarray:
    """Series (M, columns) as they are, their differences, or their log returns in percent; the first step is NaN.

    Raises:
        UserError: a logarithm of what is not positive.
    """
    if how == "none":
        return values
    if how == "log_return":
        wrong = np.flatnonzero((values <= 0).any(axis=0))
        if len(wrong):
            raise UserError(
                f"`data.transform=log_return`: {names[wrong[0]]} has values that are not positive. Take "
                "`data.transform=difference`, or none."
            )
        values = 100 * np.log(values)
    return np.vstack([np.full((1, values.shape[1]), np.nan), np.diff(values, axis=0)])


def filled_forward(values: np.ndarray, report: Report | None = None) -> np.ndarray:
    """Series (M, columns) whose missing values are the last ones known before them."""
    filled = pd.DataFrame(values).ffill().to_numpy()
    if report is not None:
        report.note(int((np.isnan(values) & ~np.isnan(filled)).sum()), "missing values taken from the step before")
    return filled


def describe_gaps(series: Series, names: Sequence[str], report: Report, *, dated: bool) -> None:
    """Say how far apart steps usually are, where there are longer gaps, and which stretches are missing."""
    if dated and len(series.times) > 2:
        steps = np.diff(series.times)
        usual = float(np.median(steps))
        long = int((steps > 1.5 * usual).sum())
        if long:
            widest = int(steps.argmax())
            report.say(
                f"steps are {_span(usual)} apart, but for {long:,} longer gaps, the longest "
                f"{_span(float(steps.max()))} from {moment(series.times[widest])}"
            )
        else:
            report.say(f"steps are {_span(usual)} apart, without gaps")
    for column, name in enumerate(names):
        absent = np.isnan(series.values[:, column])
        if absent.any():
            edges = np.flatnonzero(np.diff(np.concatenate([[0], absent.astype(int), [0]])))
            lengths = edges[1::2] - edges[::2]
            first = int(edges[::2][lengths.argmax()])
            where = f" from {moment(series.times[first])}" if dated else ""
            report.say(
                f"{name}: {int(absent.sum()):,} steps missing in {len(lengths):,} stretches, the longest "
                f"{int(lengths.max()):,} steps{where}"
            )


def step_from(series: Series, date: str, *, dated: bool) -> int:
    """Return the first step at or after a date.

    Args:
        dated: whether the steps have times.

    Raises:
        UserError: it is no date, or lies outside the series.
    """
    try:
        seconds = dates.seconds(pd.Series([pd.Timestamp(date)]))[0]
    except ValueError as error:
        raise UserError(f"`data.test_from={date}` is no date such as 2015-01-01.") from error
    step = int(np.searchsorted(series.times, seconds))
    if not dated or not 0 < step < len(series.times):
        raise UserError(
            f"`data.test_from={date}` lies outside the series, {moment(series.times[0])} to {moment(series.times[-1])}."
        )
    return step


def moment(seconds: float) -> str:
    """A time as a person writes it: the day, and the hour where it is not midnight."""
    stamp = pd.Timestamp(seconds, unit="s")
    return stamp.strftime("%Y-%m-%d") if stamp == stamp.normalize() else stamp.strftime("%Y-%m-%d %H:%M")


def _brought_together(seconds: np.ndarray, values: np.ndarray, *, every: str, how: str) -> Series:
    frame = pd.DataFrame(values, index=pd.to_datetime(seconds, unit="s"))
    grouped = (
        frame.resample(PERIODS[every], label="left", closed="left")
        if every == "week"
        else frame.resample(PERIODS[every])
    )
    joined = getattr(grouped, how)() if how != "sum" else grouped.sum(min_count=1)
    times = joined.index.to_numpy().astype("datetime64[us]").astype("int64") / 1e6
    return Series(times, joined.to_numpy(dtype=float), np.full(len(joined), -1))


def _with_every_step(series: Series, every: str, report: Report) -> Series:
    """The series on a regular calendar: a missing step for each period without a row."""
    periods = pd.to_datetime(series.times, unit="s").to_period(
        PERIODS[every].removesuffix("S") if every != "hour" else "h"
    )
    twice = int(periods.duplicated().sum())
    if twice:
        raise UserError(
            f"`data.every={every}`: {twice:,} rows share their {every} with another. Say how they become one: "
            "`data.aggregate=mean`, sum, count or last."
        )
    whole = pd.period_range(periods[0], periods[-1], freq=periods.freq)
    place = whole.get_indexer(periods)
    values = np.full((len(whole), series.values.shape[1]), np.nan)
    times, row = whole.to_timestamp().to_numpy().astype("datetime64[us]").astype("int64") / 1e6, np.full(len(whole), -1)
    values[place], times[place], row[place] = series.values, series.times, series.row
    report.note(len(whole) - len(place), f"{every}s without a row taken as missing steps")
    return Series(times, values, row)


def _without_repeats(seconds: np.ndarray, values: np.ndarray, row: np.ndarray, time: str, report: Report) -> np.ndarray:
    again = np.flatnonzero(np.diff(seconds[row]) == 0) + 1
    if not len(again):
        return row
    same = np.array([np.array_equal(values[row[each]], values[row[each - 1]], equal_nan=True) for each in again])
    if not same.all():
        raise UserError(
            f"`data.time={time}`: {int((~same).sum()):,} rows have the time of another row and other values (the first "
            f"at {moment(seconds[row[again[~same][0]]])}). Name the columns that hold one series each, or bring rows "
            "together: `data.every=day data.aggregate=mean` (or sum, count, last)."
        )
    report.note(len(again), "rows that repeat the row before left out")
    return np.delete(row, again)


def _check_column(rows: pd.DataFrame, option: str, column: str) -> None:
    if column not in rows:
        known = [str(each) for each in rows.columns]
        raise UserError(f"{option}: there is no column `{column}`.{did_you_mean(column, known)}")


def _empty(values: pd.Series) -> np.ndarray:
    absent = values.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values):
        absent = absent | values.map(lambda each: isinstance(each, str) and is_missing(each)).to_numpy(dtype=bool)
    return absent


def _span(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            amount = seconds / length
            return f"{amount:.3g} {unit}{'' if amount == 1 else 's'}"
    return f"{seconds:.3g} seconds"
