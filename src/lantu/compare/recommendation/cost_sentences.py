"""Sentences about cost, the settings that mattered, the business case and a larger budget."""

import math

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.methods.scaling_law import Law
from lantu.compare.phrases import counted, digits_for, interval
from lantu.units import format_money


def total_cost(analysis: Analysis) -> list[str]:
    """Return what all runs together took."""
    units = {"cost/device_hours": "device hours", "cost/kwh": "kWh", "cost/co2e_kg": "kg CO2e"}
    usd = analysis.total("cost/usd")
    parts = [format_money(usd)] if math.isfinite(usd) else []
    parts += [f"{number(total)} {unit}" for name, unit in units.items() if math.isfinite(total := analysis.total(name))]
    if not parts:
        return []
    metrics = analysis.runs.metrics
    lacking = int(metrics[[name for name in ("cost/usd", *units) if name in metrics]].isna().all(axis=1).sum())
    without = f" ({lacking:,} of them recorded no cost)" if lacking else ""
    return [f"{counted(len(analysis.runs), 'run')} together took {', '.join(parts)}{without}."]


def most_important(analysis: Analysis, further: FurtherAnalysis) -> list[str]:
    """Return the settings that explain most of the score."""
    importance = further.importance
    if importance.refused:
        return []
    short = analysis.groups.short
    shares = importance.table["permutation"]
    named = [f"{short.get(name, name)} ({share:.0%})" for name, share in shares.items() if share >= 0.1][:3]
    if not named:
        return []
    text = f"The most important setting is {named[0]}"
    if len(named) > 1:
        text += f", then {' and '.join(named[1:])}"
    interactions = importance.interactions
    if len(interactions) and float(interactions["share"].iloc[0]) >= 0.1:
        pair = [short.get(interactions[end].iloc[0], "") for end in ("first", "second")]
        text += f"; {' and '.join(pair)} interact, so tune them together"
    return [f"{text}."]


def business_case(analysis: Analysis, further: FurtherAnalysis) -> list[str]:
    """Return what a configuration is worth under the user's business assumptions."""
    if not further.outlooks:
        return []
    label, outlook = next(reversed(further.outlooks.items()))
    months = int((analysis.options.business or {}).get("months") or 24)
    low, high = outlook.interval["present value"]
    back = outlook.likely["pay-back months"]
    value = format_money(outlook.likely["present value"])
    text = f"Under your business assumptions {label} is worth {value} over {months} months"
    text += f" (90% of the simulated cases lie between {format_money(low)} and {format_money(high)})"
    text += f", and pays back in month {back:.0f}" if math.isfinite(back) else ", and does not pay back in that time"
    return [f"{text}."]


def forecast(analysis: Analysis, further: FurtherAnalysis) -> list[str]:
    """Return what ten times the compute would bring, by the fitted scaling law."""
    law = further.law
    if not isinstance(law, Law) or len(law.variables) != 2:
        return []
    best = law.optimum(10 * law.largest)
    digits = digits_for(best.loss[2] - best.loss[1])
    usd = further.usd_per_flop * law.largest * 10
    price = f" (about {format_money(usd)} a run)" if math.isfinite(usd) else ""
    return [
        f"Ten times the compute of the largest run{price} would bring {analysis.metric} to about "
        f"{number(best.loss[0], digits)} ({interval(best.loss[1], best.loss[2], digits)}), if the fitted law holds."
    ]
