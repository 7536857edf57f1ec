"""Names of a metric for a slice of the examples: `test/f1/slice/region/north` is the F1 where the region is north."""

import re

SLICE = "/slice/"
"""Stands between the metric and the column."""
_BEFORE = re.compile(r"_by_(script|language)/")
"""How scripts and languages were named before they were slices: `test/accuracy_by_script/Latin`."""


def slice_name(metric: str, column: str, value: str) -> str:
    """The name of a metric for one value of a column."""
    return f"{metric}{SLICE}{column}/{value}"


def whole_metric(name: str) -> str:
    """The metric that a name is a slice of: `test/f1` of `test/f1/slice/region/north`; any other name as it is."""
    return with_current_slice(name).partition(SLICE)[0]


def parts_of(name: str) -> tuple[str, str, str] | None:
    """Metric, column and value that a name tells, such as ("test/f1", "region", "north"); None if it is of no slice."""
    metric, found, which = with_current_slice(name).partition(SLICE)
    column, _, value = which.partition("/")
    return (metric, column, value) if found else None


def with_current_slice(name: str) -> str:
    """A name as it is written now: `test/accuracy/slice/script/Latin` for `test/accuracy_by_script/Latin`."""
    return _BEFORE.sub(rf"{SLICE}\1/", name)
