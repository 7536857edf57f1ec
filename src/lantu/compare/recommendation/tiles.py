"""The figures at the head of the report."""

import math

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.phrases import counted, interval
from lantu.compare.recommendation.repetitions import digits_of, repetition
from lantu.units import format_money

Tile = tuple[str, str, str]
"""A figure, what it is, and a detail."""
_OF_ONE_RUN = ("cost/usd", "model/parameters")


def tiles(analysis: Analysis) -> list[Tile]:
    """Return the best score, how many are tied, what was spent, and what training again costs."""
    table, digits, unit = analysis.comparison.scored, digits_of(analysis), repetition(analysis)
    best = table.iloc[0]
    has_interval = math.isfinite(best["low"])
    ends = f"{interval(float(best['low']), float(best['high']), digits)}, " if has_interval else ""
    score = number(float(best["mean"]), digits)
    tiles = [(score, f"best {analysis.metric}", f"{ends}{counted(int(best['seeds']), unit)}")]
    if len(table) > 1:
        comparison = analysis.comparison
        tied = f"{int(comparison.tied.sum())} of {len(table)}" if comparison.tested else "?"
        tiles.append((tied, "tied with the best", "configurations, the best one included"))
    spent = analysis.total("cost/usd")
    if math.isfinite(spent):
        kwh = analysis.total("cost/kwh")
        tiles.append((format_money(spent), "spent on all runs", f"{number(kwh)} kWh" if math.isfinite(kwh) else ""))
    label = analysis.cheapest or analysis.winner
    means = {name: float(analysis.means[name][label]) for name in _OF_ONE_RUN if name in analysis.means}
    if math.isfinite(usd := means.get("cost/usd", math.nan)):
        tiles.append((format_money(usd), "to train again", label))
    if len(tiles) < 4 and math.isfinite(parameters := means.get("model/parameters", math.nan)):
        tiles.append((number(parameters), "parameters", label))
    return tiles
