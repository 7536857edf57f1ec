"""The report's sections about money to come: what more budget would buy, and the return on investment."""

from html import escape

import numpy as np

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import MISSING, compact, number
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.methods.roi import FORMULAS, Outlook
from lantu.compare.methods.scaling_fit import Refused
from lantu.compare.methods.scaling_law import Law
from lantu.compare.phrases import digits_for, interval
from lantu.compare.report import charts_cost
from lantu.units import format_money


def section(title: str, lead: str, body: str) -> str:
    """A card of the page."""
    return f'<section><h2>{escape(title)}</h2><p class="lead">{lead}</p>{body}</section>'


def scrolling(table: str, label: str) -> str:
    """A wide table that scrolls by itself, by keyboard too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label, quote=True)}">{table}</div>'


_ALPHA, _BETA = "\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER BETA}"


def forecast_section(analysis: Analysis, further: FurtherAnalysis) -> str:
    """The scaling law and what budgets would buy, or why there is no forecast."""
    law = further.law
    if isinstance(law, Refused):
        return section("What more budget would buy", "", f'<p class="refused">No forecast: {escape(law.reason)}</p>')
    names = {
        "E": "E",
        "A": "A",
        "alpha": _ALPHA,
        "B": "B",
        "beta": _BETA,
    }
    rows = "".join(
        f"<dt>{names[name]}</dt><dd>{number(value)} <small>({interval(*law.intervals()[name])})</small></dd>"
        for name, value in law.coefficients.items()
    )
    form = {
        ("N", "D"): f"L = E + A / N^{_ALPHA} + B / D^{_BETA}, N parameters, D training samples",
        ("N",): f"L = E + A / N^{_ALPHA}, N parameters",
        ("D",): f"L = E + A / D^{_ALPHA}, D training samples",
        ("C",): f"L = E + A / C^{_ALPHA}, C compute in FLOPs",
    }[law.variables]
    lead = (
        f"A scaling law fitted to {law.points} runs of the best settings at each size (Hoffmann et al. 2022, "
        f"approach 3); typical error {law.residual:.1%}. It extrapolates: trust it less the further it goes."
    )
    coefficients = (
        f'<figure><figcaption>{escape(form)}</figcaption><dl class="pairs">{rows}</dl>'
        f"{_budgets(law, further, analysis)}</figure>"
    )
    body = f'<div class="charts">{charts_cost.forecast(law, further, analysis)}{coefficients}</div>'
    return section("What more budget would buy", lead, body)


def _budgets(law: Law, further: FurtherAnalysis, analysis: Analysis) -> str:
    if law.variables != ("N", "D"):
        return ""
    usd = np.isfinite(further.usd_per_flop)
    rows = []
    for factor in (1, 3, 10, 30):
        best = law.optimum(law.largest * factor)
        digits = digits_for(best.loss[2] - best.loss[1])
        price = f'<td class="n">{format_money(further.usd_per_flop * best.compute)}</td>' if usd else ""
        rows.append(
            f'<tr><td class="n">&times; {factor}</td>{price}<td class="n">{compact(best.parameters[0])}</td>'
            f'<td class="n">{compact(best.samples[0])}</td><td class="n">{number(best.loss[0], digits)} '
            f"<small>{interval(best.loss[1], best.loss[2], digits)}</small></td></tr>"
        )
    priced = '<th class="n">a run costs</th>' if usd else ""
    return (
        f'<div class="scroll below"><table><thead><tr><th class="n">compute</th>{priced}'
        f'<th class="n">best N</th><th class="n">best D</th><th class="n">{escape(analysis.metric)}</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def business_section(analysis: Analysis, further: FurtherAnalysis) -> str:
    """The return on investment with every formula, or why it is not worked out."""
    title = "Return on investment"
    if not further.outlooks:
        return section(title, "", f'<p class="refused">Not worked out: {escape(str(further.no_outlook))}</p>')
    months = int((analysis.options.business or {}).get("months") or 24)
    lead = f"Over {months} months, from the measured speed and the business assumptions below."
    labels = list(further.outlooks)
    head = "".join(f'<th class="n">{escape(label)}</th>' for label in labels)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f'<td class="n">{_figure(name, further.outlooks[label])}</td>' for label in labels)
        + f'<td class="words"><small>{escape(_formula(name))}</small></td></tr>'
        for name in next(iter(further.outlooks.values())).likely
    )
    chances = "; ".join(f"{escape(label)}: {found.chance:.0%}" for label, found in further.outlooks.items())
    found = further.outlooks[labels[-1]]
    body = (
        f'<div class="charts">{charts_cost.cash(found)}{charts_cost.tornado(found)}</div>'
        f'<div class="scroll below roi"><table><thead><tr><th></th>{head}<th>formula</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="note">In brackets: the range of 90% of the Monte-Carlo draws. The investment comes back '
        f"within the horizon with probability {chances}. The pictures show {escape(labels[-1])}.</p>"
        f"{_assumptions(analysis)}"
    )
    return section(title, lead, body)


MOST_ROI = 100.0
"""Beyond this the investment is negligible beside the profit, and its multiple says nothing."""
_MONEY = ("cost", "value", "margin", "profit", "investment")


def _figure(name: str, found: Outlook) -> str:
    value, (low, high) = found.likely[name], found.interval[name]

    def as_text(each: float) -> str:
        if not np.isfinite(each):
            return "never" if name != "ROI" else MISSING
        if name == "ROI":
            return f"{each:,.0%}" if each <= MOST_ROI else f"over {MOST_ROI:,.0%}"
        if any(part in name for part in _MONEY):
            return format_money(each)
        return f"{each:,.0f}"

    spread = f" <small>({as_text(low)} to {as_text(high)})</small>" if low != high and np.isfinite(low) else ""
    return f"{as_text(value)}{spread}"


def _formula(name: str) -> str:
    named = {"profit in month 1": "profit in month m", "pay-back months": "pay-back"}
    return FORMULAS.get(named.get(name, name), "")


def _assumptions(analysis: Analysis) -> str:
    business = analysis.options.business or {}
    items = "".join(
        f"<dt>{escape(str(name).replace('_', ' '))}</dt><dd>{escape(_assumed(value))}</dd>"
        for name, value in business.items()
    )
    return f"<details><summary>Assumptions: likely (lowest to highest)</summary><dl>{items}</dl></details>"


def _assumed(value: object) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 3:
        low, likely, high = map(float, value)
        return f"{number(likely)} ({number(low)} to {number(high)})"
    return "as measured" if value is None else str(value)
