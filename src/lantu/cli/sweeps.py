"""`lantu sweeps`: list the sweeps of a store, or show one, also while another process runs it."""

import argparse
import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from lantu import units
from lantu.cli.common_options import add_json_option, add_store_option, pager
from lantu.cli.run_listing import as_json
from lantu.errors import UserError
from lantu.sweeps.finish import causes
from lantu.sweeps.progress import COLOURS, counted
from lantu.sweeps.state.identity import unknown
from lantu.sweeps.state.objective import objective_value
from lantu.sweeps.state.status import Watcher
from lantu.sweeps.state.sweep_folder import SweepFolder, sweep_folders, sweeps_of

REFRESH_SECONDS = 1.0


def sweeps_main(argv: list[str]) -> int:
    """List the sweeps, or show one with its trials; returns 0."""
    parser = argparse.ArgumentParser("lantu sweeps", description="Show the state of the sweeps in this folder.")
    parser.add_argument("name", nargs="?", help="show this one, with its trials")
    parser.add_argument("--watch", action="store_true", help="keep updating until the sweep has ended")
    add_store_option(parser)
    add_json_option(parser)
    options = parser.parse_args(argv)
    if not options.store.is_dir():
        raise UserError(
            f"there is no folder {options.store}. Sweep first (`lantu train -m ...`), or name it: --store DIR."
        )
    console = Console(highlight=False)
    if options.name is None:
        sweeps = list(sweep_folders(options.store))
        if options.json:
            print(as_json([_as_dict(each) for each in sweeps]))
            return 0
        if not sweeps:
            console.print(f"No sweep in {options.store} yet: `lantu train -m optimizer.lr=1e-3,1e-2` is one.")
            return 0
        with pager(console, rows=4 * len(sweeps)):
            console.print(_overview(sweeps))
        return 0
    sweep = SweepFolder(sweeps_of(options.store) / options.name)
    if not sweep.exists():
        raise UserError(unknown(sweeps_of(options.store), options.name))
    if options.json:
        print(as_json([_as_dict(sweep, trials=True)]))
    elif options.watch and console.is_terminal:
        _watch(sweep, console)
    else:
        _show(sweep, console)
    return 0


def _as_dict(sweep: SweepFolder, *, trials: bool = False) -> dict[str, Any]:
    """Return a sweep as plain values, with its trials if `trials` is set."""
    status, content = Watcher(sweep).look(), sweep.content()
    best = status.best
    objectives = list(content["objectives"])
    values: dict[str, Any] = {
        "name": sweep.name, "began": datetime.fromtimestamp(content["created"], UTC).isoformat(timespec="seconds"),
        "running": sweep.owner.is_alive(), "objectives": objectives, "trials": dict(status.counts),
        "best": {"trial": best.name, "metric": best.metric, "value": best.value} if best else None, **sweep.spent(),
    }  # fmt: skip
    if trials:
        values["each_trial"] = [
            {
                "number": each.number, "name": each.name, "status": state.status,
                "seconds": state.ended - state.started if state.ended else None, "values": state.values,
            }
            for each in sweep.trials() for state in [each.state()]
        ]  # fmt: skip
    return values


def _overview(sweeps: list[SweepFolder]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for name in ("sweep", "began", "state", "trials", "best", "cost"):
        table.add_column(name, style="bold" if name == "sweep" else None, overflow="fold", no_wrap=name == "began")
    for sweep in sweeps:
        status = Watcher(sweep).look()
        began = datetime.fromtimestamp(sweep.content()["created"]).strftime("%m-%d %H:%M")
        best = status.best
        shown = f"{best.metric} {best.value:.4g}\n{escape(best.name)}" if best else ""
        state = "[cyan]running[/]" if sweep.owner.is_alive() else "stopped" if status.counts["planned"] else "ended"
        cost = units.format_money(sweep.spent()["usd"])
        table.add_row(sweep.name, began, state, counted(status, separator="\n"), shown, cost)
    return table


def _watch(sweep: SweepFolder, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        watcher = Watcher(sweep)
        while True:
            live.update(_overview([sweep]), refresh=True)
            if not sweep.owner.is_alive() or not watcher.look().counts:
                return
            time.sleep(REFRESH_SECONDS)


def _show(sweep: SweepFolder, console: Console) -> None:
    content = sweep.content()
    console.print(_overview([sweep]), "", sep="\n")
    objective = content["objectives"][0]
    table = Table(box=None, padding=(0, 1))
    for name in ("", "trial", "status", objective.removesuffix("_best"), "took", "cost"):
        table.add_column(name, justify="right" if name in ("", "took", "cost") else "left")
    for trial in sweep.trials():
        state = trial.state()
        value = objective_value(state.values, objective)
        usd = state.values.get("cost/usd")
        table.add_row(
            str(trial.number),
            escape(trial.name),
            f"[{COLOURS.get(state.status, 'white')}]{state.status}[/]",
            "" if value is None else f"{value:.4g}",
            units.format_duration(state.ended - state.started) if state.ended else "",
            "" if usd is None else units.format_money(usd),
        )
    console.print(table, "")
    for cause, trials in causes(sweep).items():
        console.print(f"[red]failed[/red]  {len(trials)} x {escape(cause)}", soft_wrap=True)
    console.print(f"lantu train sweep.resume={sweep.name}   continue, or try failed ones again", soft_wrap=True)
    console.print(f"lantu compare sweep={sweep.name}        what won, by how much, at what cost", soft_wrap=True)
