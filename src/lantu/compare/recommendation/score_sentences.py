"""Sentences about the scores: how good the choice is, by how much, how sure that is."""

import math

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.phrases import counted, digits_for, interval
from lantu.compare.recommendation.repetitions import digits_of, repetition


def quality(analysis: Analysis, label: str) -> str:
    """Return the score of a configuration with its interval, and its test score."""
    comparison, digits, unit = analysis.comparison, digits_of(analysis), repetition(analysis)
    row, is_best_of_several = comparison.table.loc[label], label == comparison.winner and len(comparison.scored) > 1
    seeds, mean = int(row["seeds"]), number(float(row["mean"]), digits)
    details = counted(seeds, unit)
    if math.isfinite(row["low"]) and seeds > 1:
        ends = interval(float(row["low"]), float(row["high"]), digits)
        correction = f", corrected for the choice among {len(comparison.scored)}" if is_best_of_several else ""
        details = f"{comparison.level:.0%} interval {ends}{correction}; {details}"
    parts = [f"{label} reaches {analysis.metric} {mean} ({details})"]
    if is_best_of_several and math.isfinite(comparison.corrected):
        corrected = number(comparison.corrected, digits)
        if corrected != mean:
            parts.append(f"expect about {corrected} from new {unit}s, since the best of several is partly luck")
    if analysis.test:
        score = analysis.means[analysis.test][label]
        if math.isfinite(score):
            test = f"{analysis.test} {number(float(score), digits)}"
            parts.append(f"on the test split, which was not used to choose, {test}")
    return f"{'; '.join(parts)}."


def differences(analysis: Analysis, ship: str | None) -> list[str]:
    """Return by how much the best scorer leads, and how many others are tied with it."""
    comparison, digits = analysis.comparison, digits_of(analysis)
    table, winner = comparison.scored, comparison.winner
    if len(table) < 2 or analysis.incomparable:
        return []
    second = str(table.index[1])
    row = table.loc[second]
    sign = 1.0 if comparison.mode == "min" else -1.0  # the winner's advantage counts up
    gap = sign * float(row["difference"])
    amount = number(abs(gap), digits)
    direction = "lower" if comparison.mode == "min" else "higher"
    is_tie = float(amount.replace(",", "")) == 0
    relation = "has, to the digits shown, the score of" if is_tie else f"is {amount} {direction} than"
    who = f"The best scorer, {winner}," if ship not in (None, winner) else winner if ship is None else "That"
    text = f"{who} {relation} the next, {second}"
    if math.isfinite(row["diff_low"]):
        low, high = sorted((sign * float(row["diff_low"]), sign * float(row["diff_high"])))
        how = f" over shared {repetition(analysis)}s" if row["how"] in ("paired", "within seeds") else ""
        p = float(row["p_corrected"])
        text += f" ({comparison.level:.0%} interval {interval(low, high, digits)}{how}; corrected p "
        text += f"{'< 0.001' if p < 0.001 else f'= {p:.2g}'})"
    if not comparison.tested or len(table) == 2:
        return [f"{text}."]
    untested = len(comparison.untested)
    return [
        f"{text}.",
        _others(
            len(comparison.alike) - 1 - untested, len(table) - len(comparison.alike), untested, repetition(analysis)
        ),
    ]


def _others(tied: int, worse: int, untested: int, unit: str) -> str:
    parts = [
        (tied, f"{'is' if tied == 1 else 'are'} statistically tied with it"),
        (worse, f"{'is' if worse == 1 else 'are'} worse"),
        (untested, f"{'has' if untested == 1 else 'have'} too few {unit}s to tell"),
    ]
    said = [(count, what) for count, what in parts if count]
    if len(said) == 1:
        return f"All {said[0][0]} others {said[0][1]}."
    (first, what), *rest = said
    return (
        "; ".join([f"{first} of the {tied + worse + untested} others {what}", *(f"{n} {does}" for n, does in rest)])
        + "."
    )


def risk(analysis: Analysis, ship: str | None) -> list[str]:
    """Return how much worse than the best scorer a tied configuration may be: tied does not mean equal."""
    if ship is None or ship == analysis.winner or analysis.objectives:
        return []
    row, digits = analysis.comparison.table.loc[ship], digits_of(analysis)
    most = float(row["diff_high"] if analysis.mode == "min" else -row["diff_low"])
    if not (math.isfinite(most) and most > 0):
        return []
    worse = "higher" if analysis.mode == "min" else "lower"
    measured = number(abs(float(row["difference"])), digits)
    return [
        f"{ship} measured {measured} {worse} than the best scorer, {analysis.winner}; "
        f"with these {repetition(analysis)}s the true difference could be up to {number(most, digits)}."
    ]


def example_noise(analysis: Analysis) -> list[str]:
    """Return the interval that the finite number of examples alone gives the best score."""
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
