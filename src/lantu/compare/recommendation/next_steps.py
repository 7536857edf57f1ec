"""What to run next."""

import math

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.phrases import counted
from lantu.compare.recommendation.repetitions import digits_of, repetition
from lantu.units import format_money


def next_steps(analysis: Analysis) -> list[str]:
    """Return what would decide more: another metric, another split, or more seeds with their cost."""
    comparison = analysis.comparison
    if analysis.incomparable:
        return [
            "Choose a metric that means the same in all of them, such as metric=val/bits_per_byte for text or "
            "metric=val/accuracy, or compare the runs of one kind."
        ]
    if len(comparison.scored) < 2 or analysis.groups.folds:
        return []
    if comparison.tested:
        return _seeds_for_a_difference(analysis)
    if comparison.without_spread:
        return [
            "The seed changes nothing in these runs: more seeds will not help. A larger validation split, or "
            "another split (data.split_seed), shows how far the difference holds."
        ]
    return [_first_seeds(analysis)]


def _first_seeds(analysis: Analysis) -> str:
    count = min(3, len(analysis.comparison.scored))
    usd = analysis.means["cost/usd"].head(3) if "cost/usd" in analysis.means else None
    cost = ""
    if usd is not None and usd.notna().all():
        cost = f" (about {format_money(2 * float(usd.sum()))} for two more seeds each)"
    return f"Run the best {count} configurations with at least three seeds each{cost}; then compare again."


def _seeds_for_a_difference(analysis: Analysis) -> list[str]:
    """How many seeds would tell the two best apart, where they are tied."""
    comparison, plan, unit = analysis.comparison, analysis.plan, repetition(analysis)
    second = str(comparison.scored.index[1])
    if plan is None or second not in comparison.alike:
        return []
    gap = number(plan.difference, digits_of(analysis))
    goal = (
        f"Detecting a difference of {gap} between {comparison.winner} and {second} with {analysis.options.power:.0%} "
        "power"
    )
    if plan.needs_examples and analysis.examples is not None:
        return [
            f"{goal} is out of reach of any number of {unit}s: the {analysis.examples.number:,} examples alone leave "
            "it open. A larger split of examples would show it."
        ]
    if plan.seeds is None:
        return [f"{goal} needs more than 1,000 {unit}s per configuration: for practical purposes they are equal."]
    if not plan.more:
        return []
    cost = f", about {format_money(plan.usd)}" if plan.usd is not None and math.isfinite(plan.usd) else ""
    same = ", the same for both" if plan.paired else ""
    return [
        f"{goal} needs about {counted(plan.seeds, unit)} per configuration{same} "
        f"({counted(plan.more, 'more run')}{cost})."
    ]
