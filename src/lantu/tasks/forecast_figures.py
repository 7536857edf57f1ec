"""Draw forecasts over time."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lantu.tasks.plots import COLOURS, sheet

POINTS = 400
"""Steps that can be told apart; of more, the newest are drawn."""


def over_time(
    times: np.ndarray, truth: np.ndarray, value: np.ndarray, *, name: str, band: np.ndarray | None = None
) -> Figure:
    """The forecast of each step beside what came.

    Args:
        times: (N,), datetime64 or numbers of steps.
        truth, value: (N,).
        band: lower and upper quantile (N, 2).
    """
    figure, axes = sheet(f"{name}: one step ahead on the test split", size=(9, 4))
    times, truth, value = (each[-POINTS:] for each in (times, truth, value))
    if band is not None:
        low, high = band[-POINTS:].T
        axes.fill_between(times, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label="interval")
    axes.plot(times, truth, color="0.25", linewidth=1, label="truth")
    axes.plot(times, value, color=COLOURS[1], linewidth=1, label="forecast")
    axes.legend(frameon=False, fontsize=8)
    return figure


def error_by_step(errors: np.ndarray, names: Sequence[str]) -> Figure:
    """The mean absolute error of each step ahead (horizon, targets)."""
    figure, axes = sheet("Mean absolute error by step ahead")
    for series, name, colour in zip(errors.T, names, COLOURS, strict=False):
        axes.plot(np.arange(1, len(series) + 1), series, color=colour, marker="o", markersize=3, label=name)
    axes.set(xlabel="steps ahead", ylabel="mean absolute error", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    return figure
