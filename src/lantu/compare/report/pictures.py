"""PNG pictures of a comparison, for MLflow's artifact view and for slides.

The report shows the same, but its pictures cannot leave it: the ranking is made of boxes and legends of lists, so that
the page reflows on a phone, and all follow the page's style sheet in light and dark. Only `log=true` and the end of a
sweep draw these; they take 0.9 processor seconds, 0.4 of which import matplotlib.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lantu.compare.analysis import Analysis
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.methods.pareto import front, telling_costs
from lantu.compare.report.svg import COLOURS, spans_magnitudes
from lantu.metric_direction import direction

GREY = "#8d99a6"
LINES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))


def draw(analysis: Analysis, further: FurtherAnalysis, folder: Path) -> list[Path]:
    """Write ranking.png, cost.png, importance.png and curves.png, as far as there is something to show."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    style: Any = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "font.size": 9,
    }
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with matplotlib.rc_context(style):
        for name, fill in (("ranking", _ranking), ("cost", _cost), ("importance", _importance), ("curves", _curves)):
            figure = Figure(figsize=(8, 4.5), layout="constrained")
            if fill(analysis, further, figure):
                made.append(folder / f"{name}.png")
                figure.savefig(made[-1], dpi=130)
    return made


def _ranking(analysis: Analysis, further: FurtherAnalysis, figure: Any) -> bool:
    table = analysis.comparison.scored.head(15)[::-1]
    axes = figure.subplots()
    tied = analysis.comparison.tied
    for place, (label, row) in enumerate(table.iterrows()):
        colour = COLOURS[0] if tied[label] else GREY
        if np.isfinite(row["low"]):
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(
            row["mean"], place, "o", color=colour, markerfacecolor=colour if tied[label] else "white", markersize=7
        )
    axes.set_yticks(range(len(table)), [_wrapped(str(label)) for label in table.index], fontsize=8)
    axes.set_xlabel(f"{analysis.metric}, mean and {analysis.comparison.level:.0%} interval over seeds")
    axes.set_title("Who won (filled: statistically tied with the best)", loc="left", fontsize=10)
    return True


def _cost(analysis: Analysis, further: FurtherAnalysis, figure: Any) -> bool:
    costs = telling_costs(analysis.means)[:2]
    if not costs:
        return False
    score = analysis.comparison.table["mean"]
    row = figure.subplots(1, len(costs), squeeze=False, sharey=True)[0]
    for axes, cost in zip(row, costs, strict=True):
        frame = analysis.means[[cost]].assign(score=score).dropna()
        on = front(frame, {cost: direction(cost), "score": analysis.mode})
        edge = frame[on].sort_values(cost)
        axes.plot(frame[cost], frame["score"], "o", color=GREY, markersize=3.5, alpha=0.6, label="configurations")
        axes.step(edge[cost], edge["score"], where="post", color=COLOURS[1], linestyle="--", linewidth=1.2)
        axes.plot(
            edge[cost], edge["score"], "s", color=COLOURS[1], markersize=4.5, label="nothing is better and cheaper"
        )
        axes.set_xlabel(cost)
        if spans_magnitudes(frame[cost].to_numpy(dtype=float)):
            axes.set_xscale("log")
    row[0].set_ylabel(analysis.metric)
    row[0].legend(frameon=False, fontsize=8)
    return True


def _importance(analysis: Analysis, further: FurtherAnalysis, figure: Any) -> bool:
    if further.importance.refused:
        return False
    table = further.importance.table.head(10)[::-1]
    axes = figure.subplots()
    below = table["permutation"] - table["permutation_low"]
    above = table["permutation_high"] - table["permutation"]
    names = [analysis.groups.short.get(str(name), str(name)) for name in table.index]
    axes.barh(names, table["permutation"], xerr=[below, above], color=COLOURS[0], height=0.5, label="permutation")
    axes.plot(table["ped_anova"], names, "D", color=COLOURS[1], markersize=5, label="PED-ANOVA", linestyle="")
    axes.plot(table["fanova"], names, "^", color=COLOURS[2], markersize=6, label="fANOVA", linestyle="")
    axes.set_xlabel("share of what is explained")
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=8)
    return True


def _curves(analysis: Analysis, further: FurtherAnalysis, figure: Any) -> bool:
    if not further.curves:
        return False
    axis, by_group = next(iter(further.curves.items()))
    axes = figure.subplots()
    for place, (label, curve) in enumerate(by_group.items()):
        colour = COLOURS[place % 7]
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve.x, curve.mean, color=colour, linestyle=LINES[place % 6], label=label)
    ends = np.concatenate([curve.mean[len(curve.mean) // 5 :] for curve in by_group.values()])
    room = 0.05 * float(np.ptp(ends)) or 0.5
    axes.set_ylim(float(ends.min()) - room, float(ends.max()) + room)
    axes.set_xlabel(axis)
    axes.set_ylabel(analysis.metric)
    axes.legend(frameon=False, fontsize=7)
    return True


def _wrapped(label: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, 34)[:2])
