"""Draw returns, value at risk and violations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lantu.tasks.plots import COLOURS, sheet


def violations_over_time(
    times: np.ndarray, returns: np.ndarray, var: np.ndarray, levels: Sequence[float], name: str
) -> Figure:
    """Returns (T,) of each step as grey lines, the VaR (T, levels) before them, and the steps that fell below it."""
    figure, axes = sheet(f"{name}: returns, value at risk and violations on the test split", size=(11, 4.5))
    axes.vlines(times, 0, returns, color="0.75", linewidth=0.5)
    for place, level in reversed(list(enumerate(levels))):
        below = returns < var[:, place]
        share = f"{below.sum():,} violations of {len(returns):,}, {level * len(returns):.0f} expected"
        style: dict[str, Any] = {"color": COLOURS[place], "zorder": 3 + len(levels) - place}
        axes.plot(times, var[:, place], linewidth=0.8, label=f"VaR {100 * level:g}%: {share}", **style)
        axes.scatter(times[below], returns[below], s=10, linewidths=0, **style)
    axes.set(ylabel="return, %")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure
