"""What the report says of series, their parts and their windows. Imports no torch."""

from collections.abc import Sequence

import numpy as np

from lantu.data.cleaning_report import Report
from lantu.data.series.from_table import Series, moment
from lantu.data.series.time_splits import Fold
from lantu.data.splitting import SPLITS

_TRANSFORMED = {"log_return": "log returns in percent", "difference": "differences"}


def title(name: str, series: Series, targets: Sequence[str], *, dated: bool) -> str:
    """Return the series in a line: how many steps, from when to when, and what is forecast."""
    span = f", {moment(series.times[0])} to {moment(series.times[-1])}" if dated else ""
    more = f" and {len(targets) - 5} more" if len(targets) > 5 else ""
    return f"{name}: {len(series.times):,} steps{span}, forecasting {', '.join(targets[:5])}{more}"


def describe_windows(
    report: Report, folds: Sequence[Fold], *, windows: int, context: int, horizon: int, transform: str, is_shifted: bool
) -> None:
    """Report what is forecast, and how many windows are left out for a missing value.

    Args:
        windows: examples of all parts together.
        is_shifted: whether a transform leaves the first step without a value.
    """
    if transform != "none":
        report.say(f"forecast are the {_TRANSFORMED[transform]} of each series from step to step")
    possible = sum(
        max(0, end - max(begin, context) - horizon + 1)
        for fold in folds
        for begin, end in (fold.part(name) for name in SPLITS)
    )
    if possible - windows > is_shifted:
        report.note(possible - windows, "windows that touch a missing value left out")


def describe_walk(report: Report, folds: Sequence[Fold], times: np.ndarray, *, dated: bool) -> None:
    """Report the folds that follow each other in time.

    Args:
        times: seconds since 1970 of each step (M,).
    """
    begin, end = folds[0].test[0], folds[-1].test[1] - 1
    tested = f"{moment(times[begin])} to {moment(times[end])}" if dated else f"steps {begin:,} to {end:,}"
    report.say(
        f"{len(folds)} folds, each with a network of its own, trained on the steps before it alone; tested {tested}"
    )


def warn_of_filled(report: Report, part: str, origins: np.ndarray, filled: np.ndarray, *, horizon: int) -> None:
    """Warn of the steps of a part that are scored against a value that was filled in.

    Args:
        origins: the first step that each example forecasts (N,).
        filled: whether each step was filled in (M,).
    """
    steps = np.unique(origins[:, None] + np.arange(horizon))
    if count := int(filled[steps].sum()):
        report.warn(
            f"{count:,} of {len(steps):,} steps to forecast in {part} were missing; they are scored against the "
            "value before them"
        )
