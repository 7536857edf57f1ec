"""Pictures of the scores: who won, what mattered, how the runs are spread."""

from html import escape

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number, spread
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.phrases import digits_for
from lantu.compare.report import svg
from lantu.compare.report.drawing import GREY, cut, cut_apart, without_worst, words

MOST_RANKED = 20


def ranking(analysis: Analysis, *, most: int = MOST_RANKED) -> str:
    """Every group's mean, interval and seeds on one scale, best first; of boxes, which reflow on a phone."""
    table = analysis.comparison.scored.head(most)
    values = {name: part.dropna().to_numpy() for name, part in analysis.runs.score.groupby(analysis.groups.of_run)}
    dots = {label: values[label] for label in table.index}
    edges = np.concatenate([table[["mean", "low", "high"]].to_numpy(dtype=float).ravel(), *dots.values()])
    # an interval of two seeds may be wider than the picture: the scale follows what was measured
    measured = np.concatenate([table["mean"].to_numpy(dtype=float), *dots.values()])
    room = 0.35 * float(np.ptp(measured)) or abs(float(measured[0])) * 0.05 or 1.0
    known = edges[np.isfinite(edges)]
    low, high = max(known.min(), measured.min() - room), min(known.max(), measured.max() + room)
    log = analysis.mode == "min" and measured.min() > 0 and measured.max() / measured.min() >= 8
    if log:
        low = max(low, measured.min() / 1.5)
        axis = svg.Axis(low / 1.05, high * 1.05, 0, 100, log=True)
    else:
        pad = 0.02 * (high - low)
        axis = svg.Axis(low - pad, high + pad, 0, 100)
    digits = digits_for((high - low) / 20)
    rows = []
    tied = analysis.comparison.tied
    for label, row in table.iterrows():
        classes = "rank" + (" alike" if tied[label] else "")
        classes += " first" if label == analysis.winner else ""
        bar, half = "", ""
        if np.isfinite(row["low"]):
            start, end = axis(max(row["low"], low)), axis(min(row["high"], high))
            bar = f'<i style="left:{start:.2f}%;width:{end - start:.2f}%"></i>'
            value_text = spread(float(row["mean"]), float(row["low"]), float(row["high"]), digits)
            half = f" <small>{escape(value_text.strip())}</small>"
        seeds = "".join(f'<u style="left:{axis(v):.2f}%"></u>' for v in dots[label]) if len(dots[label]) > 1 else ""
        rows.append(
            f'<div class="{classes}"><div class="name">{escape(str(label))}</div><div class="track">{bar}{seeds}'
            f'<b style="left:{axis(row["mean"]):.2f}%"></b></div>'
            f'<div class="value">{number(float(row["mean"]), digits)}{half}</div></div>'
        )
    ticks = axis.ticks(5)
    scale = "".join(f'<span style="left:{axis(tick):.2f}%">{svg.short(tick)}</span>' for tick in ticks)
    rows.append(f'<div class="rank"><div></div><div class="scale">{scale}</div><div></div></div>')
    return f'<div class="ranks">{"".join(rows)}</div>'


_METHODS = {"permutation": "permutation", "PED-ANOVA": "ped_anova", "fANOVA": "fanova"}


def importances(analysis: Analysis, further: FurtherAnalysis, *, most: int = 8) -> str:
    """Bars with intervals for permutation, marks for the two others."""
    table = further.importance.table.head(most)
    rows, step = len(table), 34
    chart = svg.Chart(
        (0, 1),
        (rows, 0),
        size=(svg.WIDTH, rows * step + 48),
        left=132,
        x_label="share of what is explained",
        title="Importance of hyperparameters",
        rows=rows,
        x_names=[(0, "0"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%"), (1, "100%")],
    )
    for place, (name, row) in enumerate(table.iterrows()):
        label = analysis.groups.short.get(str(name), str(name))
        y = chart.y(place + 0.5)
        chart.raw(f'<text class="note" x="124" y="{y + 4:.1f}" text-anchor="end">{escape(cut(label, 18))}</text>')
        shares = [f"{how} {row[key]:.0%}" for how, key in _METHODS.items()]
        tooltip = f"{label}: {', '.join(shares)}"
        chart.bar((0, float(row["permutation"])), (place + 0.24, place + 0.62), colour=svg.COLOURS[0], tip=tooltip)
        a, b = chart.x(float(row["permutation_low"])), chart.x(float(row["permutation_high"]))
        middle = chart.y(place + 0.43)
        chart.raw(
            f'<path class="axis" stroke-width="1.4" d="M{a:.1f} {middle:.1f}H{b:.1f}M{a:.1f} {middle - 4:.1f}v8'
            f'M{b:.1f} {middle - 4:.1f}v8"/>'
        )
        for method, mark, colour in (("ped_anova", "diamond", svg.COLOURS[1]), ("fanova", "triangle", svg.COLOURS[2])):
            if np.isfinite(row[method]):
                chart.dot(float(row[method]), place + 0.78, colour=colour, mark=mark, size=3.6, tip=tooltip)
    keys = svg.legend(
        [
            ("permutation, with its spread", svg.COLOURS[0], "", "square"),
            ("PED-ANOVA", svg.COLOURS[1], "", "diamond"),
            ("fANOVA", svg.COLOURS[2], "", "triangle"),
        ]
    )
    return f"<figure><figcaption>How much each setting explains</figcaption>{chart.done()}{keys}</figure>"


def marginals(analysis: Analysis, further: FurtherAnalysis, *, most: int = 3) -> list[str]:
    """Score against each of the most important settings: a point per configuration, the middle half as a line."""
    order = list(further.importance.table.index[:most]) or list(analysis.groups.settings.columns[:most])
    return [_marginal(analysis, str(name)) for name in order if name in analysis.groups.settings]


def _marginal(analysis: Analysis, name: str) -> str:
    score = analysis.comparison.scored["mean"]
    column = analysis.groups.settings[name].reindex(score.index)
    short = analysis.groups.short.get(name, name)
    y = score.to_numpy(dtype=float)
    shown = without_worst(y, analysis.mode)
    y_log = analysis.mode == "min" and svg.spans_magnitudes(shown, factor=8)
    numeric = column.dtype.kind in "fiu" and column.nunique() > 2
    if numeric:
        x = column.to_numpy(dtype=float)
        log = svg.spans_magnitudes(x, factor=8)
        several = sorted(set(x[np.isfinite(x)]))
        names = [(each, svg.short(each)) for each in several] if len(several) <= 6 else None
        chart = svg.Chart(
            svg.limits(x, log=log),
            svg.limits(shown, log=y_log),
            y_log=y_log,
            x_label=short,
            y_label=analysis.metric,
            x_log=log,
            title=short,
            x_names=names,
        )
        levels = column
        if column.nunique() > 8:
            levels = pd.qcut(column.rank(method="first"), min(8, max(2, len(column) // 5)), labels=False)
    else:
        texts = column.map(words)
        kinds = sorted(texts.unique())[:12]
        place = {kind: at for at, kind in enumerate(kinds)}
        x = texts.map(place).to_numpy(dtype=float)
        x_names = [(float(at), said) for at, said in enumerate(cut_apart(kinds, 44 // len(kinds)))]
        chart = svg.Chart(
            (-0.6, len(kinds) - 0.4),
            svg.limits(shown, log=y_log),
            y_log=y_log,
            x_label=short,
            y_label=analysis.metric,
            title=short,
            x_names=x_names,
        )
        levels = pd.Series(x, index=column.index)
    ok = np.isfinite(x)
    jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(x)) if not numeric and len(x) > 40 else 0
    step = max(1, int(ok.sum()) // 600)
    chart.dots((x + jitter)[ok][::step], y[ok][::step], colour=GREY, opacity=0.55)
    frame = pd.DataFrame({"x": x, "y": y, "level": levels.to_numpy()}).dropna()
    middle = frame.groupby("level").agg(x=("x", "median"), y=("y", "median"))
    if numeric:
        middle = middle.sort_values("x")
        chart.line(middle["x"].to_numpy(), middle["y"].to_numpy(), colour=svg.COLOURS[0], width=2.4)
    for _, row in middle.iterrows():
        chart.dot(float(row["x"]), float(row["y"]), colour=svg.COLOURS[0], size=4.2)
    best = analysis.winner
    at = float(x[list(score.index).index(best)])
    if np.isfinite(at):
        chart.dot(at, float(score[best]), colour=svg.COLOURS[1], mark="diamond", size=4.6, tip=f"best: {best}")
    return f"<figure><figcaption>{escape(short)}</figcaption>{chart.done()}</figure>"


def distribution(analysis: Analysis) -> str:
    """How the scores of all runs are spread."""
    values = analysis.runs.score.dropna().to_numpy(dtype=float)
    if len(values) < 12 or np.ptp(values) == 0:
        return ""
    kept = without_worst(values, analysis.mode)
    counts, edges = np.histogram(kept, bins=min(30, max(8, len(kept) // 6)))
    chart = svg.Chart(
        (edges[0], edges[-1]), (0, counts.max() * 1.06), x_label=analysis.metric, y_label="runs", title="Scores"
    )
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            gap = 0.04 * (high - low)
            tooltip = f"{count} runs from {number(low)} to {number(high)}"
            chart.bar((low + gap, high - gap), (0, count), colour=GREY, opacity=0.75, tip=tooltip)
    chart.upright(float(analysis.comparison.table["mean"].iloc[0]))
    left = len(values) - len(kept)
    more = f"; {left} worse {'run' if left == 1 else 'runs'} not shown" if left else ""
    under = f'<p class="under">dashed: the best configuration{more}</p>'
    return f"<figure><figcaption>Distribution over runs</figcaption>{chart.done()}{under}</figure>"
