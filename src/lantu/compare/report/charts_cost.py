"""Pictures of quality against cost, of what more budget would buy, and of money over time."""

from html import escape

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.methods.pareto import front, prices, telling_costs
from lantu.compare.methods.roi import Outlook
from lantu.compare.methods.scaling_law import Law, budget_curve
from lantu.compare.report import svg
from lantu.compare.report.drawing import GREY, cut, without_worst
from lantu.metric_direction import direction
from lantu.units import format_money

MOST_DOTS = 1500
COST_NAMES = {
    "cost/usd": "money to train",
    "cost/kwh": "energy to train",
    "cost/co2e_kg": "CO2e of training",
    "cost/device_hours": "device time",
    "model/parameters": "parameters",
    "speed/latency_ms": "latency",
    "privacy/epsilon": "privacy: epsilon",
}


def trade_offs(analysis: Analysis) -> list[str]:
    """Quality against each known cost, epsilon and gap between groups, with the front of what nothing beats."""
    shown = [*telling_costs(analysis.means)[:4], *prices(analysis.means)[:4]]
    return [_trade_off(analysis, cost) for cost in shown]


def _trade_off(analysis: Analysis, cost: str) -> str:
    table = analysis.comparison.table
    frame = pd.DataFrame(
        {"cost": analysis.means[cost], "score": table["mean"], "tied": analysis.comparison.tied}
    ).dropna()
    on = front(frame[["cost", "score"]], {"cost": direction(cost), "score": analysis.mode})
    x, y = frame["cost"].to_numpy(dtype=float), frame["score"].to_numpy(dtype=float)
    log = svg.spans_magnitudes(x)
    shown = without_worst(y, analysis.mode)
    y_log = analysis.mode == "min" and svg.spans_magnitudes(shown, factor=8)
    chart = svg.Chart(
        svg.limits(x, log=log),
        svg.limits(shown, log=y_log),
        y_log=y_log,
        x_label=cost,
        y_label=analysis.metric,
        x_log=log,
        title=f"{cost} and quality",
    )
    edge = frame[on].sort_values("cost")
    if len(edge) > 1:
        xs, ys = edge["cost"].to_numpy(dtype=float), edge["score"].to_numpy(dtype=float)
        chart.line(np.repeat(xs, 2)[1:], np.repeat(ys, 2)[:-1], colour=svg.COLOURS[1], width=1.6, dash="5 3")
    tied = frame["tied"].astype(bool)
    plain = frame[~on & ~tied]
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
    for label, row in frame[tied].head(200).iterrows():
        chart.dot(row["cost"], row["score"], colour=svg.COLOURS[0], size=4.4, tip=_point(label, row, analysis, cost))
    _name_two(chart, frame, analysis)
    return f"<figure><figcaption>{escape(_caption(cost))}</figcaption>{chart.done()}</figure>"


def _caption(cost: str) -> str:
    """What a price is, in words: `fairness/race/demographic_parity_difference` is a difference between groups."""
    if not cost.startswith("fairness/"):
        return _capital(COST_NAMES.get(cost, cost))
    _, groups, gap = cost.split("/", 2)
    return f"{_capital(gap.replace('_', ' '))} between groups of {groups.replace('_', ' ')}"


def _name_two(chart: svg.Chart, frame: pd.DataFrame, analysis: Analysis) -> None:
    """Words beside the best and the cheapest that is as good, one above the other where they would overlap."""
    labels = {analysis.winner: "best"}
    if analysis.cheapest and analysis.cheapest != analysis.winner:
        labels[analysis.cheapest] = "cheapest tied"
    above = -8.0
    for label, words in labels.items():
        if label in frame.index:
            x, y = float(frame.loc[label, "cost"]), float(frame.loc[label, "score"])
            left = chart.x(x) > svg.WIDTH * 0.6
            chart.text(x, y, words, anchor="end" if left else "start", dx=-7 if left else 7, dy=above)
            above -= 14


def _point(label: object, row: pd.Series, analysis: Analysis, cost: str) -> str:
    return f"{label}: {analysis.metric} {number(float(row['score']))}, {cost} {number(float(row['cost']))}"


def trade_off_legend(analysis: Analysis) -> str:
    """The marks that all trade-off pictures share."""
    entries = [
        ("Pareto front: no other is better and cheaper", svg.COLOURS[1], "", "square"),
        ("other configurations", GREY, "", "circle"),
    ]
    if analysis.comparison.tested:
        entries.insert(1, ("statistically tied with the best", svg.COLOURS[0], "", "circle"))
    return svg.legend(entries)


def forecast(law: Law, further: FurtherAnalysis, analysis: Analysis) -> str:
    """The lowest loss that a budget buys, with its interval; or the power law of the one thing that varies."""
    if law.variables in {("N", "D"), ("C",)}:
        x = np.geomspace(law.largest / 300, law.largest * 100, 40)
        curve = budget_curve(law, x)
        usd = np.isfinite(further.usd_per_flop)
        scale, label = (further.usd_per_flop, "US dollars for one run") if usd else (1.0, "compute in FLOPs")
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
    under = '<p class="under">band: 95% of the bootstrap; dotted: the lowest loss that any amount reaches</p>'
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
    under = '<p class="under">line: likely values; band: 90% of the simulated cases</p>'
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
        words = str(name).replace("_", " ")
        chart.raw(f'<text class="note" x="140" y="{y + 4:.1f}" text-anchor="end">{escape(cut(words, 22))}</text>')
        for end, value, colour in (
            (row["low"], row["from_value"], svg.COLOURS[4]),
            (row["high"], row["to_value"], svg.COLOURS[0]),
        ):
            tooltip = f"{words} at {number(float(value))}: {format_money(float(end))}"
            chart.bar((base, float(end)), (place + 0.22, place + 0.78), colour=colour, tip=tooltip)
    chart.upright(base, dash="")
    keys = svg.legend(
        [("at the low end", svg.COLOURS[4], "", "square"), ("at the high end", svg.COLOURS[0], "", "square")]
    )
    return f"<figure><figcaption>Which assumption matters</figcaption>{chart.done()}{keys}</figure>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
