"""The end of a sweep: what became of its trials, why some failed, and the comparison."""

import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from lantu import units
from lantu.errors import UserError
from lantu.sweeps.outcome import best_trial, outdo, register
from lantu.sweeps.parent import ParentRun
from lantu.sweeps.progress import counted
from lantu.sweeps.state.status import Watcher
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder

if TYPE_CHECKING:
    from lantu.compare.analysis import Options

DEFAULT_OBJECTIVE = "val/loss"


def finish(sweep: SweepFolder, cfg: DictConfig, parent: ParentRun, *, started: float) -> int:
    """Say how a sweep went, and compare its trials; returns how many failed."""
    console = Console(highlight=False)
    status = Watcher(sweep).look()
    took = units.format_duration(time.time() - started)
    console.print(f"\n[bold]{sweep.name}[/bold]: {counted(status)} in {took}", soft_wrap=True)
    for cause, trials in causes(sweep).items():
        console.print(f"[red]failed[/red]      {len(trials)} x {escape(cause)}", soft_wrap=True)
        console.print(f"            {trials[0].name}: see {_short(trials[0])}/output.txt", soft_wrap=True)
    if status.counts["skipped"]:
        console.print("budget      spent; re-issue the command with a larger `sweep.budget` for the rest")
    if status.best and len(sweep.content()["objectives"]) == 1:  # with several the front is the result
        found = status.best
        console.print(
            f"best        [bold]{escape(found.name)}[/bold]  {found.metric} {found.value:.4g}", soft_wrap=True
        )
    spent = sweep.spent()
    if spent["usd"]:
        parts = (
            units.format_duration(3600 * spent["hours"]),
            units.format_energy(spent["kwh"]),
            units.format_money(spent["usd"]),
        )
        console.print(f"cost        {parts[0]} of device time, {parts[1]}, {parts[2]}")
    _add_up_privacy(sweep, parent, console)
    best = best_trial(sweep)
    if cfg.sweep.baselines and best is not None:
        outdo(sweep, best, parent, console)
    parent.close()
    arrived = parent.arrived()
    if cfg.sweep.register and best is not None:
        register(str(cfg.sweep.register), best, parent, console, arrived=arrived)
    _compare(sweep, cfg, parent, console, arrived=arrived, enough=status.counts["finished"] > 1)
    if status.counts["failed"]:
        again = f"lantu train sweep.resume={sweep.name}"
        console.print(f"next        {again}   try those that failed again", soft_wrap=True)
    return status.counts["failed"]


def _add_up_privacy(sweep: SweepFolder, parent: ParentRun, console: Console) -> None:
    """Say what all private trials have spent together: choosing the best of them looks at each."""
    trials = [each.path for each in sweep.trials() if (each.path / "privacy.json").is_file()]
    if not trials:
        return
    from lantu.responsible.privacy import ledger

    try:
        total = ledger.total_of(trials)
    except UserError as error:
        console.print(f"privacy     {error}", soft_wrap=True, markup=False)
        return
    assert total is not None
    ledger.write(sweep.path, total)
    parent.log_metrics({"privacy/epsilon": total["epsilon"]})
    console.print(
        f"privacy     epsilon {total['epsilon']:.3g} at delta {total['delta']:g}: the {total['runs']} private runs "
        "together, which is what the chosen one has spent too",
        soft_wrap=True,
    )


def causes(sweep: SweepFolder) -> dict[str, list[TrialFolder]]:
    """Failed trials by cause, the commonest first; causes that differ only in numbers are one."""
    groups: dict[str, list[TrialFolder]] = defaultdict(list)
    messages: dict[str, str] = {}
    for trial in sweep.trials():
        state = trial.state()
        if state.status == "failed":
            like = re.sub(r"\d+(\.\d+)?", "#", state.reason)
            groups[messages.setdefault(like, state.reason)].append(trial)
    return dict(sorted(groups.items(), key=lambda each: -len(each[1])))


def _compare(
    sweep: SweepFolder, cfg: DictConfig, parent: ParentRun, console: Console, *, arrived: bool, enough: bool
) -> None:
    if not cfg.sweep.compare or not enough:
        return
    if not arrived or parent.run_id is None:
        console.print(f"compare     `lantu sync`, then `lantu compare sweep={sweep.name}`", soft_wrap=True)
        return
    from lantu.compare.publish import compare_sweep

    try:
        decision = compare_sweep(parent.run_id, tracking_uri=parent.uri, options=_options(sweep))
    except UserError as error:
        console.print(f"compare     {escape(str(error))}", soft_wrap=True)
        return
    except Exception as error:  # the trials are done and kept: their comparison must not make the sweep fail
        name = type(error).__name__
        console.print(f"compare     not made: {escape(f'{name}: {error}'.splitlines()[0])}", soft_wrap=True)
        console.print(f"            lantu compare sweep={sweep.name}   tries again", soft_wrap=True)
        return
    console.print(f"decision    [bold]{escape(decision.headline)}[/bold]", soft_wrap=True)
    console.print(f"            lantu compare sweep={sweep.name}   the table and the report behind it", soft_wrap=True)


def _options(sweep: SweepFolder) -> "Options":
    """By which metrics a sweep's trials are compared: those it aimed at."""
    from lantu.compare.analysis import Options

    content = sweep.content()
    names = [str(each).removesuffix("_best") for each in content["objectives"]]
    modes = [str(each)[:3] for each in content["directions"]]
    if len(names) > 1:
        return Options(objectives=tuple(zip(names, modes, strict=True)))
    # the default objective gives way to a metric that all trials share, where their losses differ in kind
    return Options() if names == [DEFAULT_OBJECTIVE] else Options(metric=names[0], mode=modes[0])


def _short(trial: TrialFolder) -> str:
    from pathlib import Path

    try:
        return str(trial.path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(trial.path)
