"""Everything that is worked out from the runs, once, for the table, the decision, the report and the pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lantu.compare import table as tables
from lantu.compare.methods.curves import Curve, curves, samples_per_step
from lantu.compare.methods.groups import Groups, group
from lantu.compare.methods.importance import Importance, importance
from lantu.compare.methods.pareto import available_costs, cheapest_alike
from lantu.compare.methods.power import Plan, plan
from lantu.compare.methods.roi import Measured, Outlook, outlook
from lantu.compare.methods.scaling import Law, Refused, fit
from lantu.compare.methods.statistics import Comparison, compare
from lantu.compare.reading.runs import Reader, Runs, Selection, read
from lantu.metric_direction import direction

SHOWN_CURVES = 6
"""Groups whose learning curves are drawn: as many as eyes can tell apart."""


@dataclass(frozen=True)
class Options:
    """What `conf/compare.yaml` lets a person choose."""

    metric: str = "val/loss"
    mode: str = "auto"
    test_metric: str | None = "auto"
    cost: str | None = "auto"
    group_by: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    level: float = 0.95
    power: float = 0.8
    pooling: str = "auto"
    difference: float | None = None
    business: Mapping[str, Any] | None = None
    placeholder: bool = True
    """Whether the business assumptions are the shipped ones, which are nobody's."""
    draws: int = 80


@dataclass(frozen=True)
class Analysis:
    """What is known about some runs."""

    selection: Selection
    runs: Runs
    groups: Groups
    comparison: Comparison
    table: pd.DataFrame
    means: pd.DataFrame
    """Mean of every metric by group, best group first."""
    metric: str
    mode: str
    test: str | None
    cost: str | None
    """The cost that the decision looks at, such as cost/usd."""
    costs: list[str]
    cheapest: str | None
    """The cheapest group that cannot be told from the best."""
    plan: Plan | None
    options: Options

    @property
    def winner(self) -> str:
        """The group with the best mean."""
        return self.comparison.winner

    def total(self, metric: str) -> float:
        """The sum of a metric over all runs; nan where no run has it."""
        values = self.runs.metrics.get(metric)
        return float(values.sum()) if values is not None and values.notna().any() else float("nan")


@dataclass(frozen=True)
class Depth:
    """The parts that take longer, for the report."""

    importance: Importance
    curves: dict[str, dict[str, Curve]]
    law: Law | Refused
    usd_per_flop: float
    outlooks: dict[str, Outlook]
    """By group: the winner, and the cheapest that is as good."""
    no_outlook: str | None
    """Why there is no return on investment."""


def analyse(reader: Reader, selection: Selection, options: Options) -> Analysis:
    """Read the runs and compare their groups.

    Raises:
        UserError: there are no such runs, or an option is wrong.
    """
    mode = direction(options.metric, options.mode)
    runs = read(reader, selection, metric=options.metric, mode=mode)
    groups = group(runs, by=options.group_by, ignore=options.ignore)
    comparison = compare(
        runs.score, groups.of_run, groups.seed, mode=mode, level=options.level, pooling=options.pooling
    )
    test = options.metric.replace("val/", "test/", 1) if options.test_metric == "auto" else options.test_metric
    test = test if test in runs.metrics and test != options.metric else None
    means = tables.group_means(runs, groups).reindex(comparison.table.index)
    costs = available_costs(means)
    cost = (costs[0] if costs else None) if options.cost == "auto" else options.cost
    second = comparison.table.index[1] if len(comparison.table) > 1 else None
    usd = {str(k): float(v) for k, v in means["cost/usd"].items()} if "cost/usd" in means else None
    return Analysis(
        selection=selection,
        runs=runs,
        groups=groups,
        comparison=comparison,
        table=tables.summary(runs, groups, comparison, metric=options.metric, test=test, means=means),
        means=means,
        metric=options.metric,
        mode=mode,
        test=test,
        cost=cost,
        costs=costs,
        cheapest=cheapest_alike(comparison, runs.metrics[cost], groups.of_run) if cost in runs.metrics else None,
        plan=plan(
            comparison,
            (comparison.winner, str(second)),
            difference=options.difference,
            usd_per_run=usd,
            power=options.power,
        )
        if second is not None
        else None,
        options=options,
    )


def deepen(analysis: Analysis, reader: Reader) -> Depth:
    """Work out the parts that only the report shows."""
    shown = list(analysis.comparison.table.index[:SHOWN_CURVES])
    if analysis.cheapest and analysis.cheapest not in shown:
        shown[-1] = analysis.cheapest
    law, usd_per_flop = _forecast(analysis)
    outlooks, no_outlook = _outlooks(analysis)
    return Depth(
        importance=importance(analysis.comparison.table["mean"], analysis.groups, mode=analysis.mode),
        curves=curves(reader, analysis.runs, analysis.groups, metric=analysis.metric, shown=shown),
        law=law,
        usd_per_flop=usd_per_flop,
        outlooks=outlooks,
        no_outlook=no_outlook,
    )


def _forecast(analysis: Analysis) -> tuple[Law | Refused, float]:
    """A law over network size and samples seen; of the winner's architecture, of each size the best settings."""
    if analysis.mode != "min" or "loss" not in analysis.metric:
        return Refused(f"scaling laws describe losses, and {analysis.metric} is none; try metric=val/loss."), float(
            "nan"
        )
    runs = analysis.runs
    sizes, samples = runs.metrics.get("model/parameters"), seen(runs)
    if sizes is None:
        return Refused("the runs have not logged model/parameters."), float("nan")
    frame = pd.DataFrame({"n": sizes, "d": samples, "loss": runs.score, "group": analysis.groups.of_run})
    frame["c"] = 6 * frame["n"] * frame["d"]
    frame = frame[frame["loss"].notna()]
    architecture = analysis.groups.settings.get("choices.model")
    if architecture is not None:  # networks of one kind only: another kind's size is another thing
        same = architecture.index[architecture == architecture[analysis.winner]]
        frame = frame[frame["group"].isin(same)]
    # samples vary by rounding (a last, smaller batch): two runs within two per cent saw the same
    frame["about"] = (np.log(frame["d"].fillna(1.0).clip(lower=1.0)) / np.log(1.02)).round()
    best = frame.groupby(["n", "about", "group"])["loss"].mean().groupby(["n", "about"]).idxmin()
    chosen = {place[2] for place in best}
    kept = frame[frame["group"].isin(chosen)]
    known = kept["d"].notna().all()
    law = fit(
        kept["loss"].to_numpy(),
        parameters=kept["n"].to_numpy(),
        samples=kept["d"].to_numpy() if known else None,
        draws=analysis.options.draws,
    )
    usd = runs.metrics.get("cost/usd")
    rate = float((usd / frame["c"]).median()) if usd is not None and known else float("nan")
    return law, rate


def seen(runs: Runs) -> pd.Series:
    """Training samples that each run saw: as logged, or its last step times its batch."""
    for name in ("cost/samples", "train/samples", "progress/samples"):
        if name in runs.metrics:
            return runs.metrics[name]
    return (runs.steps + 1) * samples_per_step(runs)


def _outlooks(analysis: Analysis) -> tuple[dict[str, Outlook], str | None]:
    business = analysis.options.business
    if not business:
        return {}, "no business assumptions were given (business=default)."
    means = analysis.means
    if not business.get("predictions_per_second") and not {"speed/latency_ms", "speed/samples_per_second"} & {*means}:
        return {}, "the runs measured no speed; give business.predictions_per_second."
    wanted = [analysis.winner, *([analysis.cheapest] if analysis.cheapest else [])]
    spent = analysis.total("cost/usd")
    found = {}
    for label in dict.fromkeys(wanted):
        row, parts = means.loc[label], analysis.comparison.table.loc[label]
        error = float(parts["sd"] / np.sqrt(parts["seeds"])) if parts["seeds"] > 1 else 0.0
        latency = float(row.get("speed/latency_ms", np.nan))
        speed = 1000 / latency if latency > 0 else float(row.get("speed/samples_per_second", np.nan))
        if not (np.isfinite(speed) or business.get("predictions_per_second")):
            continue
        usd = float(row.get("cost/usd", np.nan))
        measured = Measured(
            quality=float(parts["mean"]),
            sd=error,
            mode=analysis.mode,
            samples_per_second=speed,
            usd_to_train=usd if np.isfinite(usd) else 0.0,
            invested=spent if np.isfinite(spent) else 0.0,
        )
        found[label] = outlook(measured, business)
    return found, None if found else "the best configurations measured no speed; give business.predictions_per_second."
