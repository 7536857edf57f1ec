"""Which configuration to ship, and the sentence that says so."""

from lantu.compare.analysis import Analysis
from lantu.compare.comparability import names_of
from lantu.compare.methods.pareto import hypervolume, knee
from lantu.compare.phrases import counted
from lantu.compare.recommendation.repetitions import repetition

SAVED = {
    "cost/usd": "costs {} less to train",
    "cost/kwh": "takes {} less energy to train",
    "cost/co2e_kg": "causes {} less CO2e in training",
    "cost/device_hours": "takes {} less device time to train",
    "model/parameters": "has {} fewer parameters",
    "speed/latency_ms": "answers in {} less time",
}
"""What a cheaper configuration saves, by the cost that it is cheaper in."""
WORTH_IT = 0.1
"""The share of the cost that has to be saved before a cheaper configuration is preferred to the best scorer."""
MOST_FAILED = 0.25
"""The share of failed runs above which a configuration is not recommended."""


def choose(analysis: Analysis) -> tuple[str | None, str]:
    """Return the configuration to ship, None where the runs do not decide it, and the headline."""
    comparison, winner = analysis.comparison, analysis.comparison.winner
    if analysis.incomparable:
        return None, (
            f"No ranking: {analysis.metric} is a different quantity in these runs, since "
            f"{names_of(analysis.incomparable)} {'differ' if len(analysis.incomparable) > 1 else 'differs'}."
        )
    if analysis.objectives:
        return _front_choice(analysis)
    if analysis.failed_share(winner) > MOST_FAILED:
        return None, _unreliable(analysis)
    if len(comparison.table) == 1:
        return winner, f"There is only one configuration: {winner}."
    if len(comparison.scored) == 1:
        return winner, f"Only {winner} has a finished run, of {len(comparison.table)} configurations."
    if not comparison.tested:
        return None, _untested(analysis)
    if len(comparison.alike) == 1:
        return winner, f"Ship {winner}. It is better than every other configuration."
    return _choose_among_tied(analysis)


def _choose_among_tied(analysis: Analysis) -> tuple[str, str]:
    """The cheapest of those tied with the best scorer, if it saves enough."""
    winner, cheapest, untested = analysis.winner, analysis.cheapest, len(analysis.comparison.untested)
    tied = len(analysis.comparison.alike) - 1 - untested
    if cheapest is not None and cheapest != winner:
        cost = analysis.means[analysis.cost]
        saved = 1 - float(cost[cheapest] / cost[winner])
        if saved >= WORTH_IT:
            what = SAVED.get(str(analysis.cost), f"needs {{}} less {analysis.cost}").format(f"{saved:.0%}")
            return cheapest, f"Ship {cheapest}. It is statistically tied with the best, and {what}."
    best = f"Ship {winner}. It has the best {analysis.metric}"
    few = f"{_others(untested)} {'has' if untested == 1 else 'have'} too few {repetition(analysis)}s to be told from it"
    if cheapest == winner:
        best += ", and no cheaper configuration performs about as well"
    elif tied:
        best += f"; {_others(tied)} {'is' if tied == 1 else 'are'} statistically tied with it"
    return winner, f"{best}; {few}." if untested else f"{best}."


def _others(count: int) -> str:
    return "one other" if count == 1 else f"{count} others"


def _untested(analysis: Analysis) -> str:
    winner, unit = analysis.winner, repetition(analysis)
    best = f"{winner} has the best {analysis.metric}, but"
    if analysis.comparison.without_spread:
        return f"{best} its {unit}s do not differ, so there is nothing to test it with."
    if int(analysis.comparison.scored["seeds"].max()) > 1:
        return f"{best} no other has enough {unit}s to be compared with it."
    return f"{best} one {unit} each is not enough to call a winner."


def _unreliable(analysis: Analysis) -> str:
    """No recommendation: too many runs of the best scorer failed."""
    table = analysis.comparison.scored
    row, winner, unit = table.loc[analysis.winner], analysis.winner, repetition(analysis)
    ended = int(row["failed"] + row["seeds"])
    headline = (
        f"No recommendation: {winner} has the best {analysis.metric}, but {int(row['failed'])} of its "
        f"{counted(ended, unit)} failed."
    )
    reliable = [str(label) for label in table.index if analysis.failed_share(str(label)) <= MOST_FAILED]
    return f"{headline} The best that trains reliably is {reliable[0]}." if reliable else headline


def _front_choice(analysis: Analysis) -> tuple[str | None, str]:
    """With several objectives: the Pareto front, or its only configuration."""
    names = " and ".join(name for name, _ in analysis.objectives)
    front = [label for label in analysis.front if analysis.failed_share(label) <= MOST_FAILED]
    if len(front) == 1:
        return front[0], f"Ship {front[0]}. No other configuration is better in {names}."
    shown = "; ".join(front[:4]) + (f"; and {len(front) - 4} more" if len(front) > 4 else "")
    headline = f"{counted(len(front), 'configuration')} on the front of {names}: {shown}."
    modes, points = dict(analysis.objectives), analysis.objective_means
    at_knee = knee(points.reindex(front), modes)
    if at_knee is not None:
        headline += f" Its knee, where a gain in one costs most in the others, is {at_knee}."
    covered = f"{hypervolume(points, modes):.0%}"
    return None, f"{headline} The front covers {covered} of the box between the best and worst values."
