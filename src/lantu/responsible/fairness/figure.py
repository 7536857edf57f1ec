"""A figure of a run by group: each figure with its interval."""

import numpy as np
from matplotlib.figure import Figure

from lantu.responsible.fairness.metrics import ByGroup
from lantu.tasks.plots import COLOURS

DRAWN = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy", "mean_prediction", "mean_error")


def by_group(found: ByGroup) -> Figure:
    """One panel for each metric, one point with its interval for each group."""
    metrics = [name for name in DRAWN if name in found.figures]
    figure = Figure(figsize=(3 * len(metrics), 1.2 + 0.3 * len(found.groups)), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    places = np.arange(len(found.groups))[::-1]
    for axes, metric in zip(panels, metrics, strict=True):
        each = found.figures[metric]
        value, low, high = (np.array([getattr(one, end) for one in each]) for end in ("value", "low", "high"))
        spread = np.nan_to_num(np.clip([value - low, high - value], 0, None))
        axes.errorbar(value, places, xerr=spread, fmt="o", color=COLOURS[0], markersize=4, elinewidth=1)
        axes.set_title(metric.replace("_", " "), fontsize=9, loc="left")
        axes.grid(visible=True, color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    names = [f"{name} ({count:,})" for name, count in zip(found.groups, found.counts, strict=True)]
    panels[0].set_yticks(places, names, fontsize=8)
    figure.suptitle(f"Test split: {found.title}, 95% intervals", fontsize=10, x=0.01, ha="left")
    return figure
