"""Everything that is worked out from the runs, once, for the table, the decision, the report and the pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lantu.compare import comparison_table as tables
from lantu.compare.comparability import differing_losses, shared_metric
from lantu.compare.methods.groups import Groups, group
from lantu.compare.methods.pareto import available_costs, cheapest_alike, front
from lantu.compare.methods.power import Plan, plan
from lantu.compare.methods.statistics import Comparison, compare
from lantu.compare.methods.stored_predictions import StoredExamples, stored_examples
from lantu.compare.reading.prediction_files import read_predictions
from lantu.compare.reading.run_frames import Reader, Runs, Selection, read, recorded_direction
from lantu.errors import UserError
from lantu.metric_direction import direction

SHARES = ("accuracy", "error_rate", "f1", "precision", "recall", "auroc", "exact_match")
"""Metrics from 0 to 1, beyond which no interval reaches."""
MOST_EXAMINED = 12
"""Groups whose stored predictions are read, best first."""


@dataclass(frozen=True)
class Options:
    """What `conf/compare.yaml` lets a person choose."""

    metric: str = "auto"
    """The metric that decides; auto: val/loss, or one that all runs share where their losses differ in kind."""
    mode: str = "auto"
    objectives: tuple[tuple[str, str], ...] | None = None
    """Several metrics to be traded off, each with its mode; None: those of the sweep, if it had several."""
    test_metric: str | None = "auto"
    cost: str | None = "auto"
    group_by: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    level: float = 0.95
    power: float = 0.8
    pooling: str = "auto"
    difference: float | None = None
    business: Mapping[str, Any] | None = None
    examples: bool = True
    """Whether stored predictions are read."""
    tracking_uri: str | None = None
    """Where artifacts of runs are that are not on this machine; None: they are left out."""
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
    """The cheapest group that performs about as well as the best."""
    plan: Plan | None
    options: Options
    failed: pd.Series
    """By run, whether it failed."""
    incomparable: list[str]
    """The settings by which the metric is another quantity in some runs than in others: they are not ranked."""
    replaced: str | None = None
    """The metric that would have decided, had all runs meant the same by it."""
    objectives: tuple[tuple[str, str], ...] = ()
    """Where several metrics are traded off: each with its mode."""
    front: tuple[str, ...] = ()
    """The groups that no other beats in all objectives."""
    objective_means: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The mean of each objective by group."""
    examples: StoredExamples | None = None
    no_examples: str = ""
    """Why the examples' part of the uncertainty is not known."""
    damaged_examples: tuple[str, ...] = ()
    """A sentence for each file of predictions that cannot be used."""

    @property
    def winner(self) -> str:
        """The group with the best mean."""
        return self.comparison.winner

    def failed_share(self, label: str) -> float:
        """The share of a group's ended runs that failed."""
        row = self.comparison.table.loc[label]
        ended = float(row["failed"] + row["seeds"])
        return float(row["failed"]) / ended if ended else 0.0

    def total(self, metric: str) -> float:
        """The sum of a metric over all runs; nan where no run has it."""
        values = self.runs.metrics.get(metric)
        return float(values.sum()) if values is not None and values.notna().any() else float("nan")


def analyse(reader: Reader, selection: Selection, options: Options) -> Analysis:
    """Read the runs and compare their groups.

    Raises:
        UserError: there are no such runs, or an option is wrong.
    """
    objectives = options.objectives or _objectives_of_sweep(reader, selection)
    runs, metric, mode, replaced, incomparable = _read_comparable(reader, selection, options, objectives)
    counted = runs.score.notna() & ~runs.unfinished
    if not counted.any():
        raise UserError(
            f"none of the {len(runs)} runs has finished with {metric} yet. `lantu runs` shows what is still going."
        )
    runs = replace(runs, score=runs.score.where(~runs.unfinished))
    failed = runs.failed(metric)
    groups = group(runs, by=options.group_by, ignore=options.ignore)
    statistics: Any = {"mode": mode, "level": options.level, "pooling": options.pooling, "folds": groups.folds}
    comparison = compare(runs.score, groups.of_run, groups.seed, failed=failed, **statistics)
    runs = replace(runs, score=runs.score.where(~failed))
    examples, no_examples, damaged = _examples(runs, groups, comparison, metric, options)
    if examples is not None:
        comparison = compare(runs.score, groups.of_run, groups.seed, failed=failed, examples=examples, **statistics)
    if metric.rpartition("/")[2].removesuffix("_best") in SHARES:
        comparison.table[["low", "high"]] = comparison.table[["low", "high"]].clip(0, 1)
    test = metric.replace("val/", "test/", 1) if options.test_metric == "auto" else options.test_metric
    test = test if test in runs.metrics and test != metric else None
    means = tables.group_means(runs, groups).reindex(comparison.table.index)
    costs = available_costs(means)
    cost = (costs[0] if costs else None) if options.cost == "auto" else options.cost
    second = comparison.table.index[1] if len(comparison.scored) > 1 else None
    usd = {str(k): float(v) for k, v in means["cost/usd"].items()} if "cost/usd" in means else None
    points = _objective_means(runs, groups, comparison, objectives, metric) if objectives else pd.DataFrame()
    return Analysis(
        selection=selection,
        runs=runs,
        groups=groups,
        comparison=comparison,
        table=tables.summary(runs, groups, comparison, metric=metric, test=test, means=means, examples=examples),
        means=means,
        metric=metric,
        mode=mode,
        test=test,
        cost=cost,
        costs=costs,
        cheapest=cheapest_alike(comparison, runs.metrics[cost].where(runs.score.notna()), groups.of_run)
        if cost in runs.metrics
        else None,
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
        failed=failed,
        incomparable=incomparable,
        replaced=replaced,
        objectives=objectives or (),
        front=tuple(map(str, points.index[front(points, dict(objectives))])) if objectives else (),
        objective_means=points,
        examples=examples,
        no_examples=no_examples,
        damaged_examples=damaged,
    )


def _read_comparable(
    reader: Reader, selection: Selection, options: Options, objectives: tuple[tuple[str, str], ...] | None
) -> tuple[Runs, str, str, str | None, list[str]]:
    """The runs by a metric that means the same in all of them, as far as there is one.

    Returns:
        The runs, the metric, its mode, the metric that it replaces, and by which settings it still differs in kind.
    """
    asked = options.metric
    if asked == "auto":
        asked = objectives[0][0] if objectives else "val/loss"
    mode = objectives[0][1] if objectives and options.metric == "auto" else options.mode
    runs = _without_unmeasured_baselines(read(reader, selection, metric=asked, mode=mode))
    mode = mode if mode in ("min", "max") else recorded_direction(runs, asked) or direction(asked)
    differs = differing_losses(runs, asked)
    if not differs or options.metric != "auto" or objectives:
        return runs, asked, mode, None, differs
    instead = shared_metric(runs)
    if instead is None:
        return runs, asked, mode, None, differs
    mode = direction(instead)
    return _without_unmeasured_baselines(read(reader, selection, metric=instead, mode=mode)), instead, mode, asked, []


def _without_unmeasured_baselines(runs: Runs) -> Runs:
    """A classical model does not log every metric; one without the metric that decides has not failed."""
    described = runs.tags.get("lantu.baseline")
    if described is None:
        return runs
    return runs.only(runs.info.index[described.isna() | runs.score.notna()])


def _objectives_of_sweep(reader: Reader, selection: Selection) -> tuple[tuple[str, str], ...] | None:
    """The objectives of the one sweep that was selected, if it has several."""
    if len(selection.sweeps) != 1:
        return None
    parent = reader.parent_of(selection.sweeps[0])
    params = reader.params_of(parent) if parent else {}
    names = [
        each.strip().removesuffix("_best") for each in params.get("sweep.objective", "").split(",") if each.strip()
    ]
    if len(names) < 2:
        return None
    modes = [each.strip()[:3] for each in params.get("sweep.direction", "").split(",")]
    modes = modes if len(modes) == len(names) else ["auto"] * len(names)
    return tuple((name, direction(name, mode)) for name, mode in zip(names, modes, strict=True))


def _objective_means(
    runs: Runs, groups: Groups, comparison: Comparison, objectives: tuple[tuple[str, str], ...], metric: str
) -> pd.DataFrame:
    """The mean of each objective, by group in the order of the first one."""
    columns = {}
    for name, _ in objectives:
        if name not in runs.metrics:
            raise UserError(f"the objective `{name}` was not logged by any of the runs, so there is no front.")
        last = runs.metrics[name]
        kept = runs.metrics.get(f"{name}_best", last)
        best = kept.where(kept.notna(), last)  # a baseline keeps no best epoch
        values = runs.score if name == metric else best.where(runs.score.notna())
        columns[name] = values.groupby(groups.of_run).mean()
    return pd.DataFrame(columns).reindex(comparison.scored.index)


def _examples(
    runs: Runs, groups: Groups, comparison: Comparison, metric: str, options: Options
) -> tuple[StoredExamples | None, str, tuple[str, ...]]:
    """What the stored predictions of the best groups say; why nothing, where that is so; and what is damaged."""
    if not options.examples:
        return None, "stored predictions were not read (examples=false)", ()
    split = metric.partition("/")[0]
    if split not in ("val", "test"):
        return None, f"{metric} is not measured on examples", ()
    found, damaged = read_predictions(
        runs,
        groups.of_run,
        list(comparison.scored.index[:MOST_EXAMINED]),
        split=split,
        tracking_uri=options.tracking_uri,
    )
    return *stored_examples(found, metric), tuple(damaged)
