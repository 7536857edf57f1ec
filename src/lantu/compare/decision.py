"""The decision in words: what to ship, how sure that is, what it costs, what to do next."""

import math
from dataclasses import dataclass, field

import numpy as np

from lantu.compare.analysis import Analysis, Depth
from lantu.compare.methods.scaling import Law
from lantu.compare.table import number

WORDS = {
    "cost/usd": "money to train",
    "cost/kwh": "energy to train",
    "cost/co2e_kg": "CO2e of training",
    "cost/device_hours": "device time",
    "model/parameters": "parameters",
    "speed/latency_ms": "latency",
}

SAVED = {
    "cost/usd": "costs {} less to train",
    "cost/kwh": "takes {} less energy to train",
    "cost/co2e_kg": "causes {} less CO2e in training",
    "cost/device_hours": "takes {} less device time to train",
    "model/parameters": "has {} fewer parameters",
    "speed/latency_ms": "answers in {} less time",
}
WORTH_IT = 0.1
"""The share of the cost that has to be saved before a cheaper configuration is preferred to the best scorer."""


@dataclass(frozen=True)
class Decision:
    """What a person who must choose reads first."""

    ship: str | None
    """The group to ship; None: not to be said yet."""
    headline: str
    sentences: list[str] = field(default_factory=list)
    caution: list[str] = field(default_factory=list)
    """What the reader must not overlook."""
    tiles: list[tuple[str, str, str]] = field(default_factory=list)
    """(figure, what it is, detail)."""


def decide(analysis: Analysis, depth: Depth | None = None) -> Decision:
    """Put the analysis into words."""
    ship, headline = _choice(analysis)
    sentences = [_quality(analysis, ship or analysis.winner), *_difference(analysis, ship), *_risk(analysis, ship)]
    sentences += _price(analysis)
    if depth is not None:
        sentences += [*_mattered(analysis, depth), *_business(analysis, depth), *_forecast(analysis, depth)]
    return Decision(ship, headline, sentences, [*_next(analysis), *_caution(analysis)], _tiles(analysis, depth))


def money(value: float) -> str:
    """US dollars for a person."""
    size = abs(value)
    text = f"{size:,.0f}" if size >= 1000 else f"{size:,.2f}" if size >= 0.1 or size == 0 else f"{size:.2g}"
    return f"{'-' if value < 0 else ''}${text}"


def interval(low: float, high: float, digits: int | None = None) -> str:
    """Two ends as words."""
    return f"{number(low, digits)} to {number(high, digits)}"


def digits_for(scale: float) -> int:
    """Decimals with which a number of uncertainty `scale` is worth printing."""
    if not (math.isfinite(scale) and scale > 0):
        return 4
    return int(np.clip(1 - math.floor(math.log10(scale)), 0, 6))


def _scale(analysis: Analysis) -> int:
    table = analysis.comparison.table
    half = (table["high"] - table["low"]).min() / 2
    spread = float(table["mean"].std()) if len(table) > 1 else float("nan")
    return digits_for(float(half) if math.isfinite(half) else spread / 10)


def _choice(analysis: Analysis) -> tuple[str | None, str]:
    comparison, cheapest = analysis.comparison, analysis.cheapest
    winner, number_of = comparison.winner, len(comparison.table)
    if number_of == 1:
        return winner, f"There is only one configuration: {winner}."
    if not comparison.tested:
        return None, f"{winner} scored best, but with one seed each nobody can say that it is better."
    alike = comparison.alike
    if len(alike) == 1:
        return winner, f"Ship {winner}: it is better than every other configuration."
    if cheapest is not None and cheapest != winner:
        cost = analysis.means[analysis.cost]
        saved = 1 - float(cost[cheapest] / cost[winner])
        if saved >= WORTH_IT:
            what = SAVED.get(str(analysis.cost), f"needs {{}} less {analysis.cost}").format(f"{saved:.0%}")
            return cheapest, f"Ship {cheapest}: it cannot be told from the best, and {what}."
    if cheapest == winner:
        return winner, f"Ship {winner}: it scored best, and nothing within noise of it is cheaper."
    rest = "one other" if len(alike) == 2 else f"{len(alike) - 1} others"
    return winner, f"Ship {winner}: it scored best; {rest} cannot be told from it."


def _quality(analysis: Analysis, label: str) -> str:
    row, digits = analysis.comparison.table.loc[label], _scale(analysis)
    seeds = int(row["seeds"])
    said = f"{label} reaches {analysis.metric} {number(float(row['mean']), digits)}"
    if seeds > 1:
        level = f"{analysis.comparison.level:.0%}"
        said += f" ({level} interval {interval(float(row['low']), float(row['high']), digits)}, {seeds} seeds)"
    else:
        said += " (one seed)"
    if analysis.test:
        score = analysis.means[analysis.test][label]
        if math.isfinite(score):
            said += (
                f"; on the test split, which had no part in the choice, {analysis.test} {number(float(score), digits)}"
            )
    return f"{said}."


def _difference(analysis: Analysis, ship: str | None) -> list[str]:
    comparison, digits = analysis.comparison, _scale(analysis)
    table, winner = comparison.table, comparison.winner
    if len(table) < 2:
        return []
    said = []
    second = str(table.index[1])
    row = table.loc[second]
    gap = abs(float(row["difference"]))
    better = "lower" if comparison.mode == "min" else "higher"
    who = f"The best scorer, {winner}," if ship not in (None, winner) else "That"
    text = f"{who} is {number(gap, digits)} {better} than the next, {second}"
    if math.isfinite(row["diff_low"]):
        low, high = sorted((float(row["diff_low"]), float(row["diff_high"])))
        if not low < 0 < high:
            low, high = sorted((abs(low), abs(high)))
        shown = interval(low, high, digits)
        how = {"paired": "over shared seeds", "within seeds": "over shared seeds"}.get(str(row["how"]), "")
        p = float(row["p_corrected"])
        text += f" ({comparison.level:.0%} interval {shown}{' ' + how if how else ''}; corrected p "
        text += f"{'< 0.001' if p < 0.001 else f'= {p:.2g}'})"
    said.append(f"{text}.")
    if comparison.tested and len(table) > 2:
        alike, worse = len(comparison.alike) - 1, len(table) - len(comparison.alike)
        if alike == 0:
            said.append(
                "The only other one is measurably worse." if worse == 1 else f"All {worse} others are measurably worse."
            )
        elif worse == 0:
            said.append(f"None of the {alike} others can be told from it.")
        else:
            said.append(
                f"{alike} of {alike + worse} others cannot be told from it; {worse} {'is' if worse == 1 else 'are'} "
                "measurably worse."
            )
    return said


def _risk(analysis: Analysis, ship: str | None) -> list[str]:
    """Not to be told apart is not the same as equal: how much worse it may be."""
    if ship is None or ship == analysis.winner:
        return []
    row, digits = analysis.comparison.table.loc[ship], _scale(analysis)
    most = float(row["diff_high"] if analysis.mode == "min" else -row["diff_low"])
    if not (math.isfinite(most) and most > 0):
        return []
    worse = "higher" if analysis.mode == "min" else "lower"
    measured = number(abs(float(row["difference"])), digits)
    return [
        f"{ship} measured {measured} {worse} than the best scorer, {analysis.winner}; "
        f"with these seeds it could truly be up to {number(most, digits)} {worse}."
    ]


def _price(analysis: Analysis) -> list[str]:
    spent = {name: analysis.total(name) for name in ("cost/usd", "cost/kwh", "cost/co2e_kg", "cost/device_hours")}
    parts = []
    if math.isfinite(spent["cost/usd"]):
        parts.append(money(spent["cost/usd"]))
    if math.isfinite(spent["cost/device_hours"]):
        parts.append(f"{number(spent['cost/device_hours'])} device hours")
    if math.isfinite(spent["cost/kwh"]):
        parts.append(f"{number(spent['cost/kwh'])} kWh")
    if math.isfinite(spent["cost/co2e_kg"]):
        parts.append(f"{number(spent['cost/co2e_kg'])} kg CO2e")
    if not parts:
        return []
    return [f"All {len(analysis.runs):,} runs together took {', '.join(parts)}."]


def _mattered(analysis: Analysis, depth: Depth) -> list[str]:
    found = depth.importance
    if found.refused:
        return []
    short = analysis.groups.short
    shares = found.table["permutation"]
    named = [f"{short.get(name, name)} ({share:.0%})" for name, share in shares.items() if share >= 0.1][:3]
    if not named:
        return []
    text = f"What mattered most was {named[0]}"
    if len(named) > 1:
        text += f", then {' and '.join(named[1:])}"
    if len(found.interactions) and float(found.interactions["share"].iloc[0]) >= 0.1:
        pair = [short.get(found.interactions[end].iloc[0], "") for end in ("first", "second")]
        text += f"; {' and '.join(pair)} have to be chosen together"
    return [f"{text}."]


def _business(analysis: Analysis, depth: Depth) -> list[str]:
    if analysis.options.placeholder or not depth.outlooks:
        return []
    label, found = next(reversed(depth.outlooks.items()))
    months = int((analysis.options.business or {})["months"])
    low, high = found.interval["present value"]
    back = found.likely["pay-back months"]
    text = (
        f"Under your business assumptions {label} is worth {money(found.likely['present value'])} over {months} months"
    )
    text += f" (nine times in ten between {money(low)} and {money(high)})"
    text += f", and pays back in month {back:.0f}" if math.isfinite(back) else ", and does not pay back in that time"
    return [f"{text}."]


def _forecast(analysis: Analysis, depth: Depth) -> list[str]:
    law = depth.law
    if not isinstance(law, Law) or len(law.variables) != 2:
        return []
    best = law.optimum(10 * law.largest)
    digits = digits_for(best.loss[2] - best.loss[1])
    price = (
        f" (about {money(depth.usd_per_flop * law.largest * 10)} a run)" if math.isfinite(depth.usd_per_flop) else ""
    )
    return [
        f"Ten times the compute of the largest run{price} would bring {analysis.metric} to about "
        f"{number(best.loss[0], digits)} ({interval(best.loss[1], best.loss[2], digits)}), if the fitted law holds."
    ]


def _next(analysis: Analysis) -> list[str]:
    comparison, planned = analysis.comparison, analysis.plan
    if len(comparison.table) < 2:
        return []
    second = str(comparison.table.index[1])
    if not comparison.tested:
        price = analysis.means["cost/usd"].head(3) if "cost/usd" in analysis.means else None
        cost = ""
        if price is not None and price.notna().all():
            cost = f" (about {money(2 * float(price.sum()))} for two further seeds each)"
        return [f"Run the best three configurations again with at least three seeds each{cost}; then compare again."]
    if planned is None or second not in comparison.alike:
        return []
    digits = _scale(analysis)
    what = f"a difference of {number(planned.difference, digits)} between {comparison.winner} and {second}"
    if planned.seeds is None:
        return [f"To see {what} would take more than a thousand seeds each: for practical purposes they are equal."]
    if not planned.more:
        return []
    price = f", about {money(planned.usd)}" if planned.usd is not None and math.isfinite(planned.usd) else ""
    return [
        f"To see {what} four times in five takes {planned.seeds} seeds each"
        f"{' (the same seeds for both)' if planned.paired else ''}: {planned.more} more runs{price}."
        if analysis.options.power == 0.8
        else f"To see {what} with a chance of {analysis.options.power:.0%} takes {planned.seeds} seeds each: "
        f"{planned.more} more runs{price}."
    ]


def _caution(analysis: Analysis) -> list[str]:
    said = []
    runs, table = analysis.runs, analysis.comparison.table
    lost = runs.info[runs.score.isna()]
    if len(lost):
        kinds = ", ".join(f"{count} {str(status).lower()}" for status, count in lost["status"].value_counts().items())
        said.append(f"{len(lost)} of {len(runs)} runs have no {analysis.metric} and are left out ({kinds}).")
    going = int((runs.info["status"] == "RUNNING").sum())
    if going:
        said.append(f"{going} {'run is' if going == 1 else 'runs are'} still going; their best so far counts.")
    if analysis.comparison.tested and int(table["seeds"].iloc[0]) == 2:
        said.append("The best configuration has two seeds only; its interval is wide for that reason.")
    comparison, seeds = analysis.comparison, int(table["seeds"].median())
    if comparison.tested and comparison.pooling == "own" and seeds <= 3 and len(comparison.alike) > len(table) / 2 >= 2:
        said.append(
            f"With {seeds} seeds, and each configuration's spread by itself, little can be told apart. "
            "statistics.pooling=shared sees more, if you hold that all configurations spread alike."
        )
    if analysis.comparison.tested and int(table["seeds"].iloc[0]) == 1:
        said.append("The best configuration has one seed only: some of its lead may be luck.")
    data = analysis.groups.settings.get("choices.data")
    if data is not None and data.nunique() > 1:
        said.append("The runs were made on different data sets; their scores may not be comparable.")
    return said


def _tiles(analysis: Analysis, depth: Depth | None) -> list[tuple[str, str, str]]:
    table, digits = analysis.comparison.table, _scale(analysis)
    best = table.iloc[0]
    half = float(best["high"] - best["low"]) / 2
    tiles = [
        (
            number(float(best["mean"]), digits),
            f"best {analysis.metric}",
            f"± {number(half, digits)} over {int(best['seeds'])} seeds" if math.isfinite(half) else "one seed",
        )
    ]
    if len(table) > 1:
        alike = len(analysis.comparison.alike)
        shown = f"{alike} of {len(table)}" if analysis.comparison.tested else "?"
        tiles.append((shown, "cannot be told from the best", "configurations, the best one included"))
    spent = analysis.total("cost/usd")
    if math.isfinite(spent):
        kwh = analysis.total("cost/kwh")
        tiles.append((money(spent), "spent on all runs", f"{number(kwh)} kWh" if math.isfinite(kwh) else ""))
    label = analysis.cheapest or analysis.winner
    if "cost/usd" in analysis.means:
        tiles.append((money(float(analysis.means["cost/usd"][label])), "to train it once more", label))
    if len(tiles) < 4 and "model/parameters" in analysis.means:
        value = float(analysis.means["model/parameters"][label])
        if math.isfinite(value):
            tiles.append((number(value), "parameters", label))
    return tiles
