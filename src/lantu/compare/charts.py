"""The report's pictures, as SVG and HTML text."""

from html import escape

import numpy as np
import pandas as pd

from lantu.compare import svg
from lantu.compare.analysis import Analysis, Depth
from lantu.compare.curves import AXES
from lantu.compare.decision import WORDS, digits_for, money
from lantu.compare.groups import as_text
from lantu.compare.pareto import front, telling_costs
from lantu.compare.roi import Outlook
from lantu.compare.runs import direction
from lantu.compare.scaling import Law, budget_curve
from lantu.compare.table import number

GREY = "#8d99a6"
MOST_DOTS = 1500
MOST_LINES = 200
MOST_RANKED = 20


def ranking(analysis: Analysis, *, most: int = MOST_RANKED) -> str:
    """Every group's mean, interval and seeds on one scale, best first; of boxes, which reflow on a phone."""
    table = analysis.comparison.table.head(most)
    values = {name: part.dropna().to_numpy() for name, part in analysis.runs.score.groupby(analysis.groups.of_run)}
    dots = {label: values[label] for label in table.index}
    edges = np.concatenate([table[["mean", "low", "high"]].to_numpy(dtype=float).ravel(), *dots.values()])
    # an interval of two seeds may be wider than the picture: the scale follows what was measured
    measured = np.concatenate([table["mean"].to_numpy(dtype=float), *dots.values()])
    room = 0.35 * float(np.ptp(measured)) or abs(float(measured[0])) * 0.05 or 1.0
    known = edges[np.isfinite(edges)]
    low, high = max(known.min(), measured.min() - room), min(known.max(), measured.max() + room)
    pad = 0.02 * (high - low)
    axis = svg.Axis(low - pad, high + pad, 0, 100)
    digits = digits_for((high - low) / 20)
    rows = []
    for label, row in table.iterrows():
        classes = "rank" + (" alike" if row["alike"] and analysis.comparison.tested else "")
        classes += " first" if label == analysis.winner else ""
        bar, half = "", ""
        if np.isfinite(row["low"]):
            start, end = max(axis(row["low"]), 0), min(axis(row["high"]), 100)
            bar = f'<i style="left:{start:.2f}%;width:{end - start:.2f}%"></i>'
            half = f" <small>± {number(float(row['high'] - row['low']) / 2, digits)}</small>"
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


def importances(analysis: Analysis, depth: Depth, *, most: int = 8) -> str:
    """Bars with intervals for permutation, marks for the two others."""
    table = depth.importance.table.head(most)
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
        said = analysis.groups.short.get(str(name), str(name))
        y = chart.y(place + 0.5)
        chart.raw(f'<text class="note" x="124" y="{y + 4:.1f}" text-anchor="end">{escape(_cut(said, 18))}</text>')
        shares = [f"{how} {row[key]:.0%}" for how, key in _METHODS.items()]
        told = f"{said}: {', '.join(shares)}"
        chart.bar((0, float(row["permutation"])), (place + 0.24, place + 0.62), colour=svg.COLOURS[0], tip=told)
        a, b = chart.x(float(row["permutation_low"])), chart.x(float(row["permutation_high"]))
        middle = chart.y(place + 0.43)
        chart.raw(
            f'<path class="axis" stroke-width="1.4" d="M{a:.1f} {middle:.1f}H{b:.1f}M{a:.1f} {middle - 4:.1f}v8'
            f'M{b:.1f} {middle - 4:.1f}v8"/>'
        )
        for method, mark, colour in (("ped_anova", "diamond", svg.COLOURS[1]), ("fanova", "triangle", svg.COLOURS[2])):
            if np.isfinite(row[method]):
                chart.dot(float(row[method]), place + 0.78, colour=colour, mark=mark, size=3.6, tip=told)
    keys = svg.legend(
        [
            ("permutation, with its spread", svg.COLOURS[0], "", "square"),
            ("PED-ANOVA", svg.COLOURS[1], "", "diamond"),
            ("fANOVA", svg.COLOURS[2], "", "triangle"),
        ]
    )
    return f"<figure><figcaption>How much each setting explains</figcaption>{chart.done()}{keys}</figure>"


def marginals(analysis: Analysis, depth: Depth, *, most: int = 3) -> list[str]:
    """Score against each of the most important settings: a point per configuration, the middle half as a line."""
    order = list(depth.importance.table.index[:most]) or list(analysis.groups.settings.columns[:most])
    return [_marginal(analysis, str(name)) for name in order if name in analysis.groups.settings]


def _marginal(analysis: Analysis, name: str) -> str:
    score = analysis.comparison.table["mean"]
    column = analysis.groups.settings[name].reindex(score.index)
    short = analysis.groups.short.get(name, name)
    y = score.to_numpy(dtype=float)
    shown = _without_worst(y, analysis.mode)
    numeric = column.dtype.kind in "fiu" and column.nunique() > 2
    if numeric:
        x = column.to_numpy(dtype=float)
        log = svg.spans_magnitudes(x, factor=8)
        several = sorted(set(x[np.isfinite(x)]))
        names = [(each, svg.short(each)) for each in several] if len(several) <= 6 else None
        chart = svg.Chart(
            svg.limits(x, log=log),
            svg.limits(shown),
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
        texts = column.map(_words)
        kinds = sorted(texts.unique())[:12]
        place = {kind: at for at, kind in enumerate(kinds)}
        x = texts.map(place).to_numpy(dtype=float)
        x_names = [(float(at), _cut(kind, 60 // len(kinds))) for kind, at in place.items()]
        chart = svg.Chart(
            (-0.6, len(kinds) - 0.4),
            svg.limits(shown),
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


def trade_offs(analysis: Analysis) -> list[str]:
    """Quality against every cost that is known, with the front of what nothing beats."""
    return [_trade_off(analysis, cost) for cost in telling_costs(analysis.means)[:4]]


def _trade_off(analysis: Analysis, cost: str) -> str:
    table = analysis.comparison.table
    frame = pd.DataFrame({"cost": analysis.means[cost], "score": table["mean"], "alike": table["alike"]}).dropna()
    on = front(frame[["cost", "score"]], {"cost": direction(cost), "score": analysis.mode})
    x, y = frame["cost"].to_numpy(dtype=float), frame["score"].to_numpy(dtype=float)
    log = svg.spans_magnitudes(x)
    shown = _without_worst(y, analysis.mode)
    chart = svg.Chart(
        svg.limits(x, log=log),
        svg.limits(shown),
        x_label=cost,
        y_label=analysis.metric,
        x_log=log,
        title=f"{cost} and quality",
    )
    edge = frame[on].sort_values("cost")
    if len(edge) > 1:
        xs, ys = edge["cost"].to_numpy(dtype=float), edge["score"].to_numpy(dtype=float)
        chart.line(np.repeat(xs, 2)[1:], np.repeat(ys, 2)[:-1], colour=svg.COLOURS[1], width=1.6, dash="5 3")
    tested = analysis.comparison.tested
    plain = frame[~on & ~(frame["alike"] & tested)]
    if len(plain) > MOST_DOTS:
        plain = plain.sample(MOST_DOTS, random_state=0)
    if len(plain) > 150:
        chart.dots(plain["cost"].to_numpy(dtype=float), plain["score"].to_numpy(dtype=float), colour=GREY)
    else:
        for label, row in plain.iterrows():
            chart.dot(row["cost"], row["score"], colour=GREY, size=3.2, tip=_point(label, row, analysis, cost))
    for label, row in frame[on].iterrows():
        chart.dot(
            row["cost"],
            row["score"],
            colour=svg.COLOURS[1],
            mark="square",
            size=3.8,
            tip=_point(label, row, analysis, cost),
        )
    if tested:
        for label, row in frame[frame["alike"].astype(bool)].head(200).iterrows():
            chart.dot(
                row["cost"], row["score"], colour=svg.COLOURS[0], size=4.4, tip=_point(label, row, analysis, cost)
            )
    for label in dict.fromkeys([analysis.winner, analysis.cheapest]):
        if label is not None and label in frame.index:
            at = chart.x(frame.loc[label, "cost"])
            left = at > svg.WIDTH * 0.6
            said = "best" if label == analysis.winner else "cheapest as good"
            below = analysis.mode == "max"
            chart.text(
                frame.loc[label, "cost"],
                frame.loc[label, "score"],
                said,
                anchor="end" if left else "start",
                dx=-7 if left else 7,
                dy=14 if below else -8,
            )
    return f"<figure><figcaption>{escape(_capital(WORDS.get(cost, cost)))}</figcaption>{chart.done()}</figure>"


def _point(label: object, row: pd.Series, analysis: Analysis, cost: str) -> str:
    return f"{label}: {analysis.metric} {number(float(row['score']))}, {cost} {number(float(row['cost']))}"


def trade_off_legend(analysis: Analysis) -> str:
    """The marks that all trade-off pictures share."""
    entries = [
        ("front: nothing is better and cheaper", svg.COLOURS[1], "", "square"),
        ("other configurations", GREY, "", "circle"),
    ]
    if analysis.comparison.tested:
        entries.insert(1, ("cannot be told from the best", svg.COLOURS[0], "", "circle"))
    return svg.legend(entries)


def learning_curves(analysis: Analysis, depth: Depth) -> str:
    """One picture per axis behind tabs that need no script."""
    if not depth.curves:
        return '<p class="refused">No run has logged the metric more than once.</p>'
    parts, rules = [], []
    for place, axis in enumerate(depth.curves):
        checked = " checked" if place == 0 else ""
        parts.append(
            f'<input type="radio" name="axis" id="axis-{axis}"{checked}>'
            f'<label for="axis-{axis}">by {_TABS[axis]}</label>'
        )
        rules.append(f"#axis-{axis}:checked ~ #curves-{axis} {{ display: block; }}")
    for axis, by_group in depth.curves.items():
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
    first = next(iter(depth.curves))
    style = "".join(rules) + f"@media print {{ #curves-{first} {{ display: block; }} }}"
    return f'<style>{style}</style><div class="tabs">{"".join(parts)}</div>'


_TABS = {"step": "step", "minutes": "time", "samples": "samples", "usd": "money", "kwh": "energy"}


def parallel(analysis: Analysis) -> str:
    """Parallel coordinates: a line per configuration through its settings to its score, the best ones coloured."""
    settings = analysis.groups.settings.reindex(analysis.comparison.table.index)
    names = [str(name) for name in settings if settings[name].nunique(dropna=False) > 1][:7]
    if len(names) < 2:
        return ""
    score = analysis.comparison.table["mean"]
    better = score.sort_values(ascending=analysis.mode == "min")
    some = (
        better.index
        if len(better) <= MOST_LINES
        else better.index[np.linspace(0, len(better) - 1, MOST_LINES).astype(int)]
    )
    columns: list[tuple[str, pd.Series, list[tuple[float, str]]]] = []
    for name in names:
        column, said = settings[name], analysis.groups.short.get(name, name)
        if column.dtype.kind in "fiu" and column.nunique() > 2:
            log = svg.spans_magnitudes(column.dropna().to_numpy(dtype=float), factor=8)
            axis = svg.Axis(float(column.min()), float(column.max()), 0, 1, log=log)
            values = sorted(map(float, column.dropna().unique()))
            ticks = values if len(values) <= 6 else axis.ticks(4)
            columns.append((said, column.map(axis), [(axis(tick), svg.short(tick)) for tick in ticks]))
        else:
            texts = column.map(_words)
            kinds = sorted(texts.unique())[:15]
            place = {kind: (at + 0.5) / len(kinds) for at, kind in enumerate(kinds)}
            columns.append((said, texts.map(place), [(at, _cut(kind, 12)) for kind, at in place.items()]))
    worst = float(score.quantile(0.95 if analysis.mode == "min" else 0.05))
    ends = (
        (float(better.iloc[0]), worst)
        if worst != better.iloc[0]
        else (float(better.iloc[0]), float(better.iloc[0]) + 1)
    )
    axis = svg.Axis(min(ends), max(ends), 0, 1)
    columns.append(
        (analysis.metric, score.map(axis).clip(0, 1), [(axis(tick), svg.short(tick)) for tick in axis.ticks(4)])
    )
    width, height = 860, 300
    at = np.linspace(54, width - 54, len(columns))
    parts = []
    leading = set(better.index[: max(3, len(better) // 10)][:20])
    for label in [*(each for each in reversed(some) if each not in leading), *reversed(better.index[: len(leading)])]:
        ys = [float(column.get(label, np.nan)) for _, column, _ in columns]
        points = [f"{x:.1f},{270 - 230 * y:.1f}" for x, y in zip(at, ys, strict=True) if np.isfinite(y)]
        best = label in leading
        look = (
            f'stroke="{svg.COLOURS[0]}" stroke-width="2" opacity="0.75"' if best else f'stroke="{GREY}" opacity="0.28"'
        )
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" {look}><title>{escape(str(label))}</title></polyline>'
        )
    for x, (said, _, named) in zip(at, columns, strict=True):
        parts.append(f'<path class="axis" d="M{x:.1f} 40V270"/>')
        parts.append(f'<text class="label" x="{x:.1f}" y="22" text-anchor="middle">{escape(_cut(said, 20))}</text>')
        for y, text in named:
            if -0.01 <= y <= 1.01:
                parts.append(f'<text class="note" x="{x + 5:.1f}" y="{274 - 230 * y:.1f}">{escape(text)}</text>')
    picture = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Parallel coordinates">{"".join(parts)}</svg>'
    return f'<div class="wide">{picture}</div>'


def distribution(analysis: Analysis) -> str:
    """How the scores of all runs are spread."""
    values = analysis.runs.score.dropna().to_numpy(dtype=float)
    if len(values) < 12 or np.ptp(values) == 0:
        return ""
    kept = _without_worst(values, analysis.mode)
    counts, edges = np.histogram(kept, bins=min(30, max(8, len(kept) // 6)))
    chart = svg.Chart(
        (edges[0], edges[-1]), (0, counts.max() * 1.06), x_label=analysis.metric, y_label="runs", title="Scores"
    )
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            gap = 0.04 * (high - low)
            told = f"{count} runs from {number(low)} to {number(high)}"
            chart.bar((low + gap, high - gap), (0, count), colour=GREY, opacity=0.75, tip=told)
    chart.upright(float(analysis.comparison.table["mean"].iloc[0]))
    left = len(values) - len(kept)
    under = f'<p class="under">dashed: the best configuration{f"; {left} worse runs not shown" if left else ""}</p>'
    return f"<figure><figcaption>Distribution over runs</figcaption>{chart.done()}{under}</figure>"


def forecast(law: Law, depth: Depth, analysis: Analysis) -> str:
    """The lowest loss that a budget buys, with its interval; or the power law of the one thing that varies."""
    if law.variables in {("N", "D"), ("C",)}:
        x = np.geomspace(law.largest / 300, law.largest * 100, 40)
        curve = budget_curve(law, x)
        usd = np.isfinite(depth.usd_per_flop)
        scale, label = (depth.usd_per_flop, "US dollars for one run") if usd else (1.0, "compute in FLOPs")
        now = law.largest
    else:
        low, high = law.ranges[law.variables[0]]
        x = np.geomspace(low, high * 100, 40)
        curve = np.array([law.predict(each) for each in x])
        scale, now = 1.0, high
        label = {"N": "parameters", "D": "training samples"}[law.variables[0]]
    chart = svg.Chart(
        svg.limits(x * scale, log=True, pad=0),
        svg.limits(curve[:, :2]),
        x_label=label,
        y_label=analysis.metric,
        x_log=True,
        title="Forecast",
    )
    chart.band(x * scale, curve[:, 1], curve[:, 2], colour=svg.COLOURS[0])
    chart.line(x * scale, curve[:, 0], colour=svg.COLOURS[0])
    chart.upright(now * scale)
    chart.level(law.coefficients["E"], dash="2 3")
    for factor in (1, 10):
        value = float(np.interp(np.log(now * factor), np.log(x), curve[:, 0]))
        chart.dot(now * factor * scale, value, colour=svg.COLOURS[1], mark="diamond", size=4.6)
        chart.text(now * factor * scale, value, "budget of the largest run" if factor == 1 else "ten times that")
    under = '<p class="under">band: 95% of the bootstrap; dotted: what no amount of it goes below</p>'
    return f"<figure><figcaption>What more would buy</figcaption>{chart.done()}{under}</figure>"


def cash(found: Outlook) -> str:
    """The sum of money over time."""
    months = np.arange(len(found.cumulative), dtype=float)
    chart = svg.Chart(
        (0, months[-1]),
        svg.limits(found.cumulative),
        x_label="months after launch",
        y_label="US dollars",
        title="Sum of money",
    )
    chart.level(0.0)
    chart.band(months, found.cumulative[:, 1], found.cumulative[:, 2], colour=svg.COLOURS[0])
    chart.line(months, found.cumulative[:, 0], colour=svg.COLOURS[0])
    back = found.likely["pay-back months"]
    if np.isfinite(back):
        chart.dot(back, float(found.cumulative[int(back), 0]), colour=svg.COLOURS[1], mark="diamond", size=4.6)
        chart.text(back, float(found.cumulative[int(back), 0]), f"paid back in month {back:.0f}", dy=-10)
    under = '<p class="under">line: likely values; band: nine draws in ten</p>'
    return f"<figure><figcaption>Profit less investment, summed</figcaption>{chart.done()}{under}</figure>"


def tornado(found: Outlook, *, most: int = 8) -> str:
    """The present value as each assumption alone goes from low to high."""
    table, base = found.tornado.head(most), found.likely["present value"]
    if table.empty:
        return ""
    rows = len(table)
    chart = svg.Chart(
        svg.limits(table[["low", "high"]].to_numpy(), np.array([base])),
        (rows, 0),
        size=(svg.WIDTH, rows * 30 + 48),
        left=148,
        x_label="present value in US dollars",
        title="Which assumption matters",
        rows=rows,
    )
    for place, (name, row) in enumerate(table.iterrows()):
        y = chart.y(place + 0.5)
        said = str(name).replace("_", " ")
        chart.raw(f'<text class="note" x="140" y="{y + 4:.1f}" text-anchor="end">{escape(_cut(said, 22))}</text>')
        for end, value, colour in (
            (row["low"], row["from_value"], svg.COLOURS[4]),
            (row["high"], row["to_value"], svg.COLOURS[0]),
        ):
            told = f"{said} at {number(float(value))}: {money(float(end))}"
            chart.bar((base, float(end)), (place + 0.22, place + 0.78), colour=colour, tip=told)
    chart.upright(base, dash="")
    keys = svg.legend(
        [("at the low end", svg.COLOURS[4], "", "square"), ("at the high end", svg.COLOURS[0], "", "square")]
    )
    return f"<figure><figcaption>Which assumption matters</figcaption>{chart.done()}{keys}</figure>"


def _without_worst(values: np.ndarray, mode: str) -> np.ndarray:
    """What sets the scale of a picture: of many values, the worst in fifty do not."""
    if len(values) < 40:
        return values
    return values[values <= np.quantile(values, 0.98)] if mode == "min" else values[values >= np.quantile(values, 0.02)]


def _words(value: object) -> str:
    return "none" if pd.isna(value) else as_text(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
