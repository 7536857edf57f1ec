"""The decision in words: what to ship, how sure that is, what it costs, what to do next."""

import math
from dataclasses import dataclass, field

import numpy as np

from lantu.compare.analysis import Analysis, Depth
from lantu.compare.comparability import differing_data, names_of
from lantu.compare.comparison_table import number
from lantu.compare.methods.pareto import hypervolume, knee
from lantu.compare.methods.scaling import Law

WORDS = {
    "cost/usd": "money to train",
    "cost/kwh": "energy to train",
    "cost/co2e_kg": "CO2e of training",
    "cost/device_hours": "device time",
    "model/parameters": "parameters",
    "speed/latency_ms": "latency",
    "privacy/epsilon": "privacy: epsilon",
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
MOST_FAILED = 0.25
"""The share of failed runs above which a configuration is not recommended."""


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
    sentences += [*_same_examples(analysis), *_price(analysis)]
    if depth is not None:
        sentences += [*_mattered(analysis, depth), *_business(analysis, depth), *_forecast(analysis, depth)]
    return Decision(ship, headline, sentences, [*_next(analysis), *_caution(analysis)], _tiles(analysis))


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


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 run, 1,200 runs."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _unit(analysis: Analysis) -> str:
    """What the runs of a configuration are."""
    return "fold" if analysis.groups.folds else "seed"


def _scale(analysis: Analysis) -> int:
    table = analysis.comparison.scored
    half = (table["high"] - table["low"]).min() / 2
    spread = float(table["mean"].std()) if len(table) > 1 else float("nan")
    return digits_for(float(half) if math.isfinite(half) else spread / 10)


def _choice(analysis: Analysis) -> tuple[str | None, str]:
    comparison, cheapest = analysis.comparison, analysis.cheapest
    winner, number_of = comparison.winner, len(comparison.table)
    if analysis.incomparable:
        return None, (
            f"No ranking: {analysis.metric} is a different quantity in these runs, since "
            f"{names_of(analysis.incomparable)} {'differ' if len(analysis.incomparable) > 1 else 'differs'}."
        )
    if analysis.objectives:
        return _front_choice(analysis)
    if analysis.failed_share(winner) > MOST_FAILED:
        return None, _unreliable(analysis)
    if number_of == 1:
        return winner, f"There is only one configuration: {winner}."
    if len(comparison.scored) == 1:
        return winner, f"Only {winner} finished; {counted(number_of - 1, 'other configuration')} failed in every run."
    if not comparison.tested:
        return None, _untested(analysis)
    alike = comparison.alike
    if len(alike) == 1:
        return winner, f"Ship {winner}. It is better than every other configuration."
    if cheapest is not None and cheapest != winner:
        cost = analysis.means[analysis.cost]
        saved = 1 - float(cost[cheapest] / cost[winner])
        if saved >= WORTH_IT:
            what = SAVED.get(str(analysis.cost), f"needs {{}} less {analysis.cost}").format(f"{saved:.0%}")
            return cheapest, f"Ship {cheapest}. It is statistically tied with the best, and {what}."
    if cheapest == winner:
        return winner, (
            f"Ship {winner}. It has the best {analysis.metric}, and no cheaper configuration performs about as well."
        )
    tied = "one other is" if len(alike) == 2 else f"{len(alike) - 1} others are"
    return winner, f"Ship {winner}. It has the best {analysis.metric}; {tied} statistically tied with it."


def _untested(analysis: Analysis) -> str:
    winner, unit = analysis.winner, _unit(analysis)
    best = f"{winner} has the best {analysis.metric}, but"
    if analysis.comparison.without_spread:
        return f"{best} its {unit}s do not differ, so there is nothing to test it with."
    if int(analysis.comparison.scored["seeds"].max()) > 1:
        return f"{best} no other has enough {unit}s to be compared with it."
    return f"{best} one {unit} each is not enough to call a winner."


def _unreliable(analysis: Analysis) -> str:
    """No recommendation: too many runs of the best scorer failed."""
    table = analysis.comparison.scored
    row, winner, unit = table.loc[analysis.winner], analysis.winner, _unit(analysis)
    ended = int(row["failed"] + row["seeds"])
    said = f"No recommendation: {winner} has the best {analysis.metric}, but {int(row['failed'])} of its "
    said += f"{counted(ended, unit)} failed."
    reliable = [str(label) for label in table.index if analysis.failed_share(str(label)) <= MOST_FAILED]
    return f"{said} The best that trains reliably is {reliable[0]}." if reliable else said


def _front_choice(analysis: Analysis) -> tuple[str | None, str]:
    """With several objectives the result is what nothing beats in all of them."""
    names = " and ".join(name for name, _ in analysis.objectives)
    front = [label for label in analysis.front if analysis.failed_share(label) <= MOST_FAILED]
    if len(front) == 1:
        return front[0], f"Ship {front[0]}. No other configuration is better in {names}."
    shown = "; ".join(front[:4]) + (f"; and {len(front) - 4} more" if len(front) > 4 else "")
    said = f"{counted(len(front), 'configuration')} on the front of {names}: {shown}."
    modes, points = dict(analysis.objectives), analysis.objective_means
    at_knee = knee(points.reindex(front), modes)
    if at_knee is not None:
        said += f" Its knee, where a gain in one costs most in the others, is {at_knee}."
    return (
        None,
        f"{said} The front covers {hypervolume(points, modes):.0%} of the box between the best and worst values.",
    )


def _quality(analysis: Analysis, label: str) -> str:
    comparison, digits = analysis.comparison, _scale(analysis)
    row, chosen = comparison.table.loc[label], label == comparison.winner and len(comparison.scored) > 1
    seeds = int(row["seeds"])
    said = f"{label} reaches {analysis.metric} {number(float(row['mean']), digits)}"
    if math.isfinite(row["low"]) and seeds > 1:
        shown = interval(float(row["low"]), float(row["high"]), digits)
        chosen_among = f", corrected for the choice among {len(comparison.scored)}" if chosen else ""
        said += f" ({comparison.level:.0%} interval {shown}{chosen_among}; {counted(seeds, _unit(analysis))})"
    else:
        said += f" ({counted(seeds, _unit(analysis))})"
    if chosen and math.isfinite(comparison.corrected):
        corrected = number(comparison.corrected, digits)
        if corrected != number(float(row["mean"]), digits):
            said += f"; expect about {corrected} from new {_unit(analysis)}s, since the best of several is partly luck"
    if analysis.test:
        score = analysis.means[analysis.test][label]
        if math.isfinite(score):
            said += f"; on the test split, which was not used to choose, {analysis.test} {number(float(score), digits)}"
    return f"{said}."


def _difference(analysis: Analysis, ship: str | None) -> list[str]:
    comparison, digits = analysis.comparison, _scale(analysis)
    table, winner = comparison.scored, comparison.winner
    if len(table) < 2 or analysis.incomparable:
        return []
    said = []
    second = str(table.index[1])
    row = table.loc[second]
    sign = 1.0 if comparison.mode == "min" else -1.0  # the winner's advantage counts up
    gap = sign * float(row["difference"])
    better = "lower" if comparison.mode == "min" else "higher"
    who = f"The best scorer, {winner}," if ship not in (None, winner) else winner if ship is None else "That"
    text = f"{who} is {number(gap, digits)} {better} than the next, {second}"
    if math.isfinite(row["diff_low"]):
        low, high = sorted((sign * float(row["diff_low"]), sign * float(row["diff_high"])))
        how = f" over shared {_unit(analysis)}s" if row["how"] in ("paired", "within seeds") else ""
        p = float(row["p_corrected"])
        text += f" ({comparison.level:.0%} interval {interval(low, high, digits)}{how}; corrected p "
        text += f"{'< 0.001' if p < 0.001 else f'= {p:.2g}'})"
    said.append(f"{text}.")
    if comparison.tested and len(table) > 2:
        alike, worse = len(comparison.alike) - 1, len(table) - len(comparison.alike)
        if alike == 0:
            said.append(f"All {worse} others are worse.")
        elif worse == 0:
            said.append(f"All {alike} others are statistically tied with it.")
        else:
            said.append(
                f"{alike} of the {alike + worse} others {'is' if alike == 1 else 'are'} statistically tied with it; "
                f"{worse} {'is' if worse == 1 else 'are'} worse."
            )
    return said


def _risk(analysis: Analysis, ship: str | None) -> list[str]:
    """Statistically tied is not the same as equal: how much worse it may be."""
    if ship is None or ship == analysis.winner or analysis.objectives:
        return []
    row, digits = analysis.comparison.table.loc[ship], _scale(analysis)
    most = float(row["diff_high"] if analysis.mode == "min" else -row["diff_low"])
    if not (math.isfinite(most) and most > 0):
        return []
    worse = "higher" if analysis.mode == "min" else "lower"
    measured = number(abs(float(row["difference"])), digits)
    return [
        f"{ship} measured {measured} {worse} than the best scorer, {analysis.winner}; "
        f"with these {_unit(analysis)}s the true difference could be up to {number(most, digits)}."
    ]


def _same_examples(analysis: Analysis) -> list[str]:
    """What the stored predictions say of the two best."""
    examples, table = analysis.examples, analysis.comparison.scored
    if examples is None or len(table) < 2:
        return []
    low, high = examples.interval(analysis.winner, analysis.comparison.level)
    if not math.isfinite(low):
        return []
    return [
        f"The finite set of {examples.number:,} examples alone gives {analysis.metric} of {analysis.winner} an "
        f"interval of {interval(low, high, digits_for((high - low) / 2))}."
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
    return [f"{counted(len(analysis.runs), 'run')} together took {', '.join(parts)}."]


def _mattered(analysis: Analysis, depth: Depth) -> list[str]:
    found = depth.importance
    if found.refused:
        return []
    short = analysis.groups.short
    shares = found.table["permutation"]
    named = [f"{short.get(name, name)} ({share:.0%})" for name, share in shares.items() if share >= 0.1][:3]
    if not named:
        return []
    text = f"The most important setting is {named[0]}"
    if len(named) > 1:
        text += f", then {' and '.join(named[1:])}"
    if len(found.interactions) and float(found.interactions["share"].iloc[0]) >= 0.1:
        pair = [short.get(found.interactions[end].iloc[0], "") for end in ("first", "second")]
        text += f"; {' and '.join(pair)} interact, so tune them together"
    return [f"{text}."]


def _business(analysis: Analysis, depth: Depth) -> list[str]:
    if not depth.outlooks:
        return []
    label, found = next(reversed(depth.outlooks.items()))
    months = int((analysis.options.business or {}).get("months") or 24)
    low, high = found.interval["present value"]
    back = found.likely["pay-back months"]
    text = (
        f"Under your business assumptions {label} is worth {money(found.likely['present value'])} over {months} months"
    )
    text += f" (90% of the simulated cases lie between {money(low)} and {money(high)})"
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
    comparison, planned, unit = analysis.comparison, analysis.plan, _unit(analysis)
    table = comparison.scored
    if analysis.incomparable:
        return [
            "Choose a metric that means the same in all of them, such as metric=val/bits_per_byte for text or "
            "metric=val/accuracy, or compare the runs of one kind."
        ]
    if len(table) < 2 or analysis.groups.folds:
        return []
    second = str(table.index[1])
    if not comparison.tested:
        if comparison.without_spread:
            return [
                "The seed changes nothing in these runs: more seeds will not help. A larger validation split, or "
                "another split (data.split_seed), shows how far the difference holds."
            ]
        price = analysis.means["cost/usd"].head(3) if "cost/usd" in analysis.means else None
        cost = ""
        if price is not None and price.notna().all():
            cost = f" (about {money(2 * float(price.sum()))} for two more seeds each)"
        return [
            f"Run the best {min(3, len(table))} configurations with at least three seeds each{cost}; "
            "then compare again."
        ]
    if planned is None or second not in comparison.alike:
        return []
    digits = _scale(analysis)
    power = f"{analysis.options.power:.0%}"
    gap = number(planned.difference, digits)
    what = f"Detecting a difference of {gap} between {comparison.winner} and {second} with {power} power"
    if planned.seeds is None:
        return [f"{what} needs more than 1,000 {unit}s per configuration: for practical purposes they are equal."]
    if not planned.more:
        return []
    price = f", about {money(planned.usd)}" if planned.usd is not None and math.isfinite(planned.usd) else ""
    same = ", the same for both" if planned.paired else ""
    return [
        f"{what} needs about {counted(planned.seeds, unit)} per configuration{same} "
        f"({counted(planned.more, 'more run')}{price})."
    ]


def _caution(analysis: Analysis) -> list[str]:
    said = [*_missing(analysis), *_kinds(analysis)]
    comparison, unit = analysis.comparison, _unit(analysis)
    table = comparison.scored
    first, seeds = int(table["seeds"].iloc[0]), int(table["seeds"].median())
    if comparison.tested and first == 2:
        said.append(f"The best configuration has only two {unit}s, which makes its interval wide.")
    if comparison.tested and comparison.pooling == "own" and seeds <= 3 and len(comparison.alike) > len(table) / 2 >= 2:
        said.append(
            f"With {counted(seeds, unit)} and a separate spread for each configuration, few differences can be "
            "detected. statistics.pooling=shared detects more, if all configurations have the same spread."
        )
    if comparison.tested and first == 1:
        said.append(f"The best configuration has only one {unit}: part of its lead may be luck.")
    if comparison.tested and comparison.noise == 0:
        said.append(f"All {unit}s of a configuration give the same value; only the examples were tested.")
    return said


def _missing(analysis: Analysis) -> list[str]:
    """Runs that failed, are unfinished or were pruned."""
    said, runs, unit = [], analysis.runs, _unit(analysis)
    table = analysis.comparison.table
    failed = int(analysis.failed.sum())
    if failed:
        where = [
            f"{label} ({int(row['failed'])} of {int(row['failed'] + row['seeds'])})"
            for label, row in table[table["failed"] > 0].head(3).iterrows()
        ]
        more = int((table["failed"] > 0).sum()) - len(where)
        listed = ", ".join(where) + (f" and {counted(more, 'other configuration')}" if more > 0 else "")
        said.append(
            f"{failed} of {counted(len(runs), 'run')} failed (crashed, diverged, or without {analysis.metric}): "
            f"{listed}. Their values are not part of any mean."
        )
    lost = [str(label) for label in table.index[(table["seeds"] == 0) & (table["failed"] > 0)]]
    if lost:
        said.append(f"Every {unit} failed in {counted(len(lost), 'configuration')}: {'; '.join(lost[:3])}.")
    unfinished = runs.unfinished
    going, stopped = (
        int((runs.info["status"][unfinished] != "KILLED").sum()),
        int((runs.info["status"] == "KILLED").sum()),
    )
    if going:
        said.append(f"{counted(going, 'run is', 'runs are')} still going and left out.")
    if stopped:
        said.append(f"{counted(stopped, 'run was', 'runs were')} stopped before the end and left out.")
    pruned = runs.tags.get("lantu.pruned")
    if pruned is not None and pruned.notna().any():
        count = int(pruned.notna().sum())
        said.append(f"{counted(count, 'run was', 'runs were')} pruned early and counts with the best value until then.")
    return said


def _kinds(analysis: Analysis) -> list[str]:
    """Runs whose scores are not, or not quite, the same quantity."""
    said = []
    if analysis.replaced:
        said.append(
            f"{analysis.replaced} is a different quantity in these runs, since their losses or tokens differ; "
            f"{analysis.metric}, which they share, was compared instead."
        )
    data = differing_data(analysis.runs)
    if data:
        said.append(
            f"The runs were made on different data sets ({names_of(data)}); their scores may not be comparable."
        )
    if analysis.groups.folds:
        said.append(
            "Folds share most of their training rows: intervals and tests use the correction of Nadeau and Bengio "
            "(2003)."
        )
    return said


def _tiles(analysis: Analysis) -> list[tuple[str, str, str]]:
    table, digits, unit = analysis.comparison.scored, _scale(analysis), _unit(analysis)
    best = table.iloc[0]
    known = math.isfinite(best["low"])
    ends = f"{interval(float(best['low']), float(best['high']), digits)}, " if known else ""
    tiles = [
        (
            number(float(best["mean"]), digits),
            f"best {analysis.metric}",
            f"{ends}{counted(int(best['seeds']), unit)}",
        )
    ]
    if len(table) > 1:
        alike = len(analysis.comparison.alike)
        shown = f"{alike} of {len(table)}" if analysis.comparison.tested else "?"
        tiles.append((shown, "tied with the best", "configurations, the best one included"))
    spent = analysis.total("cost/usd")
    if math.isfinite(spent):
        kwh = analysis.total("cost/kwh")
        tiles.append((money(spent), "spent on all runs", f"{number(kwh)} kWh" if math.isfinite(kwh) else ""))
    label = analysis.cheapest or analysis.winner
    if "cost/usd" in analysis.means:
        tiles.append((money(float(analysis.means["cost/usd"][label])), "to train again", label))
    if len(tiles) < 4 and "model/parameters" in analysis.means:
        value = float(analysis.means["model/parameters"][label])
        if math.isfinite(value):
            tiles.append((number(value), "parameters", label))
    return tiles
