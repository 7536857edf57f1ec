"""Everything that is worked out from the runs, once, for the table, the decision, the report and the pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from lantu.compare import comparison_table as tables
from lantu.compare.comparability import differing_losses, shared_metric
from lantu.compare.methods.curves import Curve, curves, hardware_use, samples_per_step
from lantu.compare.methods.groups import Groups, group
from lantu.compare.methods.importance import Importance, importance
from lantu.compare.methods.pareto import available_costs, cheapest_alike, front
from lantu.compare.methods.power import Plan, plan
from lantu.compare.methods.roi import Measured, Outlook, missing_assumptions, outlook
from lantu.compare.methods.scaling import Law, Refused, effective_samples, fit
from lantu.compare.methods.statistics import Comparison, compare
from lantu.compare.methods.stored_predictions import StoredExamples, stored_examples
from lantu.compare.reading.prediction_files import read_predictions
from lantu.compare.reading.run_frames import Reader, Runs, Selection, read, recorded_direction
from lantu.errors import UserError
from lantu.metric_direction import direction

SHOWN_CURVES = 6
"""Groups whose learning curves are drawn: as many as eyes can tell apart."""
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


@dataclass(frozen=True)
class Depth:
    """The parts that take longer, for the report."""

    importance: Importance
    curves: dict[str, dict[str, Curve]]
    hardware: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]
    """By metric and group, minutes and how busy the machine was."""
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
    examples, no_examples = _examples(runs, groups, comparison, metric, options)
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
        failed=failed,
        incomparable=incomparable,
        replaced=replaced,
        objectives=objectives or (),
        front=tuple(map(str, points.index[front(points, dict(objectives))])) if objectives else (),
        objective_means=points,
        examples=examples,
        no_examples=no_examples,
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
        best = runs.metrics.get(f"{name}_best", runs.metrics.get(name))
        if best is None:
            raise UserError(f"the objective `{name}` was not logged by any of the runs, so there is no front.")
        values = runs.score if name == metric else best.where(runs.score.notna())
        columns[name] = values.groupby(groups.of_run).mean()
    return pd.DataFrame(columns).reindex(comparison.scored.index)


def _examples(
    runs: Runs, groups: Groups, comparison: Comparison, metric: str, options: Options
) -> tuple[StoredExamples | None, str]:
    """What the stored predictions of the best groups say; and why nothing, where that is so."""
    if not options.examples:
        return None, "stored predictions were not read (examples=false)"
    split = metric.partition("/")[0]
    if split not in ("val", "test"):
        return None, f"{metric} is not measured on examples"
    found = read_predictions(
        runs,
        groups.of_run,
        list(comparison.scored.index[:MOST_EXAMINED]),
        split=split,
        tracking_uri=options.tracking_uri,
    )
    return stored_examples(found, metric)


def deepen(analysis: Analysis, reader: Reader) -> Depth:
    """Work out the parts that only the report shows."""
    shown = list(analysis.comparison.scored.index[:SHOWN_CURVES])
    if analysis.cheapest and analysis.cheapest not in shown:
        shown[-1] = analysis.cheapest
    law, usd_per_flop = fitted_law(analysis)
    outlooks, no_outlook = _outlooks(analysis)
    return Depth(
        importance=importance(analysis.comparison.scored["mean"], analysis.groups, mode=analysis.mode),
        curves=curves(reader, analysis.runs, analysis.groups, metric=analysis.metric, shown=shown),
        hardware=hardware_use(reader, analysis.runs, analysis.groups, shown=shown),
        law=law,
        usd_per_flop=usd_per_flop,
        outlooks=outlooks,
        no_outlook=no_outlook,
    )


def fitted_law(analysis: Analysis) -> tuple[Law | Refused, float]:
    """A law over network size and samples seen; of the winner's architecture, of each size the best settings."""
    if analysis.mode != "min" or "loss" not in analysis.metric:
        return Refused(f"scaling laws describe losses, and {analysis.metric} is none; try metric=val/loss."), float(
            "nan"
        )
    runs = analysis.runs
    sizes, samples = runs.metrics.get("model/parameters"), seen(runs)
    if sizes is None:
        return Refused("the runs have not logged model/parameters."), float("nan")
    distinct = unique(runs, samples)
    worth = pd.Series(
        effective_samples(samples.to_numpy(dtype=float), distinct.to_numpy(dtype=float)), index=samples.index
    )
    frame = pd.DataFrame({"n": sizes, "d": worth, "loss": runs.score, "group": analysis.groups.of_run})
    frame["c"] = 6 * frame["n"] * samples
    frame = frame[frame["loss"].notna()]
    architecture = analysis.groups.settings.get("choices.model")
    if architecture is not None:  # networks of one kind only: another kind's size is another thing
        same = architecture.index[architecture == architecture[analysis.winner]]
        varied = frame["n"].nunique() > 1
        frame = frame[frame["group"].isin(same)]
        if varied and frame["n"].nunique() == 1 and frame["d"].nunique() == 1:
            return Refused(
                f"model size varies only between architectures; the runs of {architecture[analysis.winner]} all have "
                "one size and have seen as many samples."
            ), float("nan")
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


def unique(runs: Runs, samples: pd.Series) -> pd.Series:
    """Different training samples of each run: those seen, over its epochs."""
    if "epoch" in runs.metrics:  # logged from 0
        epochs = runs.metrics["epoch"] + 1
    elif "trainer.max_steps" in runs.params or runs.constants.get("trainer.max_steps", "-1") not in ("-1", "None"):
        epochs = pd.Series(1.0, index=samples.index)
    else:
        same = pd.Series(runs.constants.get("trainer.max_epochs"), index=samples.index)
        epochs = pd.to_numeric(runs.params.get("trainer.max_epochs", same), errors="coerce")
    return samples / epochs.where(epochs >= 1, 1.0)


def _outlooks(analysis: Analysis) -> tuple[dict[str, Outlook], str | None]:
    business = analysis.options.business
    if not business:
        return {}, "no business assumptions were given (business=default)."
    missing = missing_assumptions(business)
    if missing:
        return {}, (
            f"it needs your own numbers: {', '.join(f'business.{name}=...' for name in missing)}, or a file "
            "conf/business/NAME.yaml and business=NAME."
        )
    means = analysis.means
    if not business.get("predictions_per_second") and "speed/latency_ms" not in means:
        return {}, "the runs measured no latency; give business.predictions_per_second."
    wanted = [analysis.winner, *([analysis.cheapest] if analysis.cheapest else [])]
    spent = analysis.total("cost/usd")
    found = {}
    for label in dict.fromkeys(wanted):
        row, parts = means.loc[label], analysis.comparison.table.loc[label]
        error = float(parts["sd"] / np.sqrt(parts["seeds"])) if parts["seeds"] > 1 else 0.0
        latency = float(row.get("speed/latency_ms", np.nan))
        speed = 1000 / latency if latency > 0 else float("nan")
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
    return found, None if found else "the best configurations have no latency; give business.predictions_per_second."
