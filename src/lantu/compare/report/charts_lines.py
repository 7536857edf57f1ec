"""Pictures made of many lines: learning curves and parallel coordinates."""

from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.methods.curves import AXES, HARDWARE
from lantu.compare.report import svg
from lantu.compare.report.drawing import GREY, cut, cut_apart, words

MOST_LINES = 200


def learning_curves(analysis: Analysis, further: FurtherAnalysis) -> str:
    """One picture per axis behind tabs that need no script."""
    if not further.curves:
        return '<p class="refused">No run has logged the metric more than once.</p>'
    parts, rules = [], []
    for place, axis in enumerate(further.curves):
        checked = " checked" if place == 0 else ""
        parts.append(
            f'<input type="radio" name="axis" id="axis-{axis}"{checked}>'
            f'<label for="axis-{axis}">by {_TABS[axis]}</label>'
        )
        rules.append(f"#axis-{axis}:checked ~ #curves-{axis} {{ display: block; }}")
    for axis, by_group in further.curves.items():
        every = list(by_group.values())
        ends = np.array([value for curve in every for value in curve.mean[len(curve.mean) // 5 :]])
        log = analysis.mode == "min" and svg.spans_magnitudes(ends, factor=5)
        chart = svg.Chart(
            svg.limits(*(curve.x for curve in every), pad=0.01),
            svg.limits(ends, log=log),
            y_log=log,
            x_label=AXES[axis],
            y_label=analysis.metric,
            title=f"Learning curves by {axis}",
            size=(640, 340),
        )
        entries = []
        for place, (label, curve) in reversed(list(enumerate(by_group.items()))):
            colour, dash = svg.COLOURS[place % 7], svg.DASHES[place % 7]
            if curve.seeds > 1:
                chart.band(curve.x, curve.low, curve.high, colour=colour)
            chart.line(curve.x, curve.mean, colour=colour, dash=dash)
            entries.append((label, colour, dash, ""))
        parts.append(f'<figure id="curves-{axis}">{chart.done()}{svg.legend(entries[::-1])}</figure>')
    first = next(iter(further.curves))
    style = "".join(rules) + f"@media print {{ #curves-{first} {{ display: block; }} }}"
    script = Path(__file__).with_name("smoothing.js").read_text(encoding="utf-8")
    tabs = f'<div class="tabs" data-smooth>{"".join(parts)}</div>'
    return f"<style>{style}</style>{tabs}{_SLIDER}<script>{script}</script>"


_SLIDER = (
    '<label id="smoothing-label" class="note" hidden>smoothing <input id="smoothing" type="range" min="0" max="98" '
    'value="0"> <output id="smoothing-value" for="smoothing">0.00</output></label>'
)


def hardware(analysis: Analysis, further: FurtherAnalysis) -> str:
    """A picture for each part of the machine: how busy it was over the minutes of one run of each configuration."""
    pictures = []
    for name, by_group in further.hardware.items():
        chart = svg.Chart(
            svg.limits(*(x for x, _ in by_group.values()), pad=0.01),
            svg.limits(np.zeros(1), *(y for _, y in by_group.values())),
            x_label=AXES["minutes"],
            y_label=HARDWARE[name],
            title=f"{HARDWARE[name]} over time",
        )
        entries = []
        for place, (label, (x, y)) in enumerate(by_group.items()):
            colour, dash = svg.COLOURS[place % 7], svg.DASHES[place % 7]
            chart.line(x, y, colour=colour, dash=dash)
            entries.append((label, colour, dash, ""))
        pictures.append(f"<figure>{chart.done()}{svg.legend(entries)}</figure>")
    return f'<div class="charts">{"".join(pictures)}</div>'


_TABS = {"step": "step", "minutes": "time", "samples": "samples", "usd": "money", "kwh": "energy"}


def parallel(analysis: Analysis) -> str:
    """Parallel coordinates: a line per configuration through its settings to its score, the best ones coloured."""
    settings = analysis.groups.settings.reindex(analysis.comparison.scored.index)
    names = [str(name) for name in settings if settings[name].nunique(dropna=False) > 1][:7]
    if len(names) < 2:
        return ""
    score = analysis.comparison.scored["mean"]
    better = score.sort_values(ascending=analysis.mode == "min")
    some = (
        better.index
        if len(better) <= MOST_LINES
        else better.index[np.linspace(0, len(better) - 1, MOST_LINES).astype(int)]
    )
    columns = [_coordinate(settings[name], analysis.groups.short.get(name, name)) for name in names]
    worst = float(score.quantile(0.95 if analysis.mode == "min" else 0.05))
    ends = (
        (float(better.iloc[0]), worst)
        if worst != better.iloc[0]
        else (float(better.iloc[0]), float(better.iloc[0]) + 1)
    )
    axis = svg.Axis(min(ends), max(ends), 0, 1)
    columns.append(
        _Coordinate(
            analysis.metric, score.map(axis).clip(0, 1), [(axis(tick), svg.short(tick)) for tick in axis.ticks(4)]
        )
    )
    leading = list(better.index[: max(3, len(better) // 10)][:20])
    others = [each for each in some if each not in leading]
    return _drawn(columns, others[::-1], leading[::-1])


class _Coordinate(NamedTuple):
    """One axis of parallel coordinates."""

    name: str
    places: pd.Series
    """Where each configuration crosses the axis, 0 (below) to 1."""
    ticks: list[tuple[float, str]]


def _coordinate(column: pd.Series, name: str) -> _Coordinate:
    """The axis of a setting: numbers by size, anything else by name."""
    if column.dtype.kind in "fiu" and column.nunique() > 2:
        log = svg.spans_magnitudes(column.dropna().to_numpy(dtype=float), factor=8)
        axis = svg.Axis(float(column.min()), float(column.max()), 0, 1, log=log)
        values = sorted(map(float, column.dropna().unique()))
        ticks = values if len(values) <= 6 else axis.ticks(4)
        return _Coordinate(name, column.map(axis), [(axis(tick), svg.short(tick)) for tick in ticks])
    texts = column.map(words)
    kinds = sorted(texts.unique())[:15]
    place = {kind: (at + 0.5) / len(kinds) for at, kind in enumerate(kinds)}
    return _Coordinate(name, texts.map(place), [*zip(place.values(), cut_apart([*place], 12), strict=True)])


def _drawn(columns: list[_Coordinate], others: list[str], leading: list[str]) -> str:
    """The lines of configurations through all axes; the leading ones are drawn last and in colour."""
    width, height = 860, 300
    at = np.linspace(54, width - 54, len(columns))
    parts = []
    plain = f'stroke="{GREY}" opacity="0.28"'
    coloured = f'stroke="{svg.COLOURS[0]}" stroke-width="2" opacity="0.75"'
    for label, look in [*((each, plain) for each in others), *((each, coloured) for each in leading)]:
        ys = [float(each.places.get(label, np.nan)) for each in columns]
        points = [f"{x:.1f},{270 - 230 * y:.1f}" for x, y in zip(at, ys, strict=True) if np.isfinite(y)]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" {look}><title>{escape(str(label))}</title></polyline>'
        )
    for x, each in zip(at, columns, strict=True):
        parts.append(f'<path class="axis" d="M{x:.1f} 40V270"/>')
        parts.append(f'<text class="label" x="{x:.1f}" y="22" text-anchor="middle">{escape(cut(each.name, 20))}</text>')
        for y, text in each.ticks:
            if -0.01 <= y <= 1.01:
                parts.append(f'<text class="note" x="{x + 5:.1f}" y="{274 - 230 * y:.1f}">{escape(text)}</text>')
    picture = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Parallel coordinates">{"".join(parts)}</svg>'
    return f'<div class="wide" tabindex="0" role="region" aria-label="All settings at once">{picture}</div>'
