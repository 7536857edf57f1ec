"""What the evidence that is missing costs, and which would decide soonest."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lantu.compare.methods.power import seeds_needed
from lantu.metric_direction import direction
from lantu.registry.evidence import Evidence
from lantu.registry.line import Line
from lantu.tracking.further import metrics_of, params_of
from lantu.units import format_money

SECONDS = {
    "latency": 30.0, "cost": 30.0, "errors": 30.0, "rollback": 5.0, "export": 60.0, "drift": 60.0, "card": 30.0,
    "baseline": 60.0,
}  # fmt: skip
"""Of the commands that measure what a line misses, about."""
MOST_RUNS = 1000


def with_prices(
    lines: list[Line], candidate: Evidence, champion: Evidence | None, client: Any, *, usd_per_label: float | None
) -> list[Line]:
    """Lines whose missing evidence has a price, where it is known: machine time, labels, or further seeds.

    Args:
        client: MLflow's, which finds runs of the same configurations with other seeds.
        usd_per_label: what one more labelled example costs; None: not known.
    """
    return [_priced(each, candidate, champion, client, usd_per_label) for each in lines]


def cheapest(lines: list[Line]) -> Line | None:
    """Of the gates that are not known, the one whose evidence costs least; those without a known price are last."""
    missing = [each for each in lines if each.verdict == "not known" and each.remedy and each.limit]
    return min(missing, key=lambda each: math.inf if each.usd is None else each.usd, default=None)


def _priced(
    line: Line, candidate: Evidence, champion: Evidence | None, client: Any, usd_per_label: float | None
) -> Line:
    if line.verdict != "not known" or not line.remedy:
        return line
    if line.gate in SECONDS and line.remedy.startswith("lantu "):
        hourly = candidate.usd_per_hour
        usd = SECONDS[line.gate] / 3600 * hourly if hourly is not None else 0.0
        return replace(line, usd=usd, remedy=f"{line.remedy}  # about {SECONDS[line.gate]:.0f} s of this machine")
    if line.examples is not None:
        labels = line.examples * usd_per_label if usd_per_label is not None else None
        sentence = line.remedy if labels is None else f"{line.remedy} (about {format_money(labels)})"
        seeds = _seeds(line, candidate, champion, client) if line.gate == "quality" else None
        if seeds is not None:
            more, price = seeds
            shown = "" if price is None else f" for {format_money(price)}"
            sentence += f"; or {more} more seeds of each{shown} tell which configuration is better"
            labels = min((each for each in (labels, price) if each is not None), default=None)
        return replace(line, usd=labels, remedy=sentence)
    return line


def _seeds(line: Line, candidate: Evidence, champion: Evidence | None, client: Any) -> tuple[int, float | None] | None:
    """How many more seeds of each configuration show with 80% power that they differ up to the limit, and the price.

    None where fewer than two seeds of each were run, or nothing is to be shown.
    """
    metric = line.metric
    if not metric or champion is None or line.value is None or line.room is None or line.room <= 0:
        return None
    ours, theirs = (_values(client, each, metric) for each in (candidate, champion))
    if min(len(ours), len(theirs)) < 2:
        return None
    noise = math.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 2)
    sign = 1.0 if direction(metric) == "max" else -1.0
    difference = sign * (float(np.mean(ours)) - float(np.mean(theirs))) + line.room - line.value
    needed = seeds_needed(difference, noise, paired=False)
    if needed is None or needed > MOST_RUNS:
        return None
    more = max(1, needed - min(len(ours), len(theirs)))
    costs = [each.metrics.get("cost/usd") for each in (candidate, champion)]
    price = None if None in costs else more * float(sum(each or 0.0 for each in costs))
    return more, price


def _values(client: Any, evidence: Evidence, metric: str) -> list[float]:
    """A metric of the runs that differ from one in their seed alone."""
    run = client.get_run(evidence.run_id)
    own = _setting(params_of(run))
    found = client.search_runs([run.info.experiment_id], "attributes.status = 'FINISHED'", max_results=MOST_RUNS)
    alike = [metrics_of(each) for each in found if _setting(params_of(each)) == own]
    return [float(each[metric]) for each in alike if metric in each]


def _setting(params: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if name != "seed"}
