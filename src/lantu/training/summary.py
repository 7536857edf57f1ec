"""What a person sees when a run has ended: results, where they are kept, what to type next."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu import units
from lantu.metric_direction import MAIN_MEASURES
from lantu.slice_names import SLICE
from lantu.training.result import Result


def show(result: Result, console: Console | None = None) -> None:
    """Print the end of a run."""
    console = console or Console()
    stages, rows = figures(result.metrics)
    table = Table(box=None, padding=(0, 2))
    table.add_column("metric", style="cyan")
    for stage in stages:
        table.add_column(stage, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(f"\n[bold]{escape(str(result.cfg.name))}[/bold]", highlight=False)
    console.print(table, "")
    if (slices := _slices(result.metrics)) is not None:
        console.print(slices, "")
    if result.cost:
        console.print(f"cost        {_cost(result)}", highlight=False, soft_wrap=True)
    console.print(f"kept in     {_short(result.run_dir)}", highlight=False, soft_wrap=True)
    if result.run_id:
        console.print(
            f"MLflow run  {result.run_id} in experiment {result.cfg.experiment_name}",
            highlight=False,
            soft_wrap=True,
        )
    console.print("next        lantu ui                           compare runs in the browser", highlight=False)
    console.print("            lantu evaluate run=last            measure this model again", highlight=False)
    for command, what in result.usage:
        console.print(f"            {escape(_shorten(command)):<34} {what}", highlight=False, soft_wrap=True)


def description(metrics: dict[str, float], command: str) -> str:
    """What the page of a run in MLflow begins with, as Markdown: its command, and what it reached."""
    stages, rows = figures(metrics)
    lines = [f"    {command}", ""]
    if rows:
        lines += [f"| metric | {' | '.join(stages)} |", "|---|" + "---:|" * len(stages)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines).rstrip()


def figures(metrics: dict[str, float]) -> tuple[list[str], list[list[str]]]:
    """The splits that were measured, and for each metric its name and its value on each of them."""
    names = sorted(
        {
            name.partition("/")[2]
            for name in metrics
            if name.startswith(("val/", "test/")) and not name.endswith("_best") and SLICE not in name
        },
        key=_rank,
    )
    stages = [stage for stage in ("val", "test") if any(name.startswith(f"{stage}/") for name in metrics)]
    rows = []
    for name in names:
        values = [metrics.get(f"{stage}/{name}_best", metrics.get(f"{stage}/{name}")) for stage in stages]
        rows.append([name, *("" if value is None else f"{value:.4g}" for value in values)])
    return stages, rows


def _slices(metrics: dict[str, float]) -> Table | None:
    """What each slice reached in the test, or without one in validation; None without slices."""
    names = [name for name in metrics if SLICE in name and not name.endswith("_best")]
    stage = "test" if any(name.startswith("test/") for name in names) else "val"
    found = {name.removeprefix(f"{stage}/"): metrics[name] for name in names if name.startswith(f"{stage}/")}
    if not found:
        return None
    measured = sorted({name.partition(SLICE)[0] for name in found}, key=_rank)
    table = Table(box=None, padding=(0, 2))
    table.add_column(f"slices of {stage}", style="cyan")
    for metric in measured:
        table.add_column(metric, justify="right")
    for each in dict.fromkeys(name.partition(SLICE)[2] for name in found):
        values = [found.get(f"{metric}{SLICE}{each}") for metric in measured]
        table.add_row(escape(each), *("" if value is None else f"{value:.4g}" for value in values))
    return table


def _shorten(command: str) -> str:
    """A command with the paths below the working directory as they would be typed."""
    return command.replace(f"{Path.cwd()}/", "")


def _cost(result: Result) -> str:
    cost = result.cost
    sure = "estimated" if "gpu" not in result.energy_source else "GPU measured"
    parts = (
        f"{units.format_duration(3600 * cost['cost/device_hours'])} of device time",
        f"{units.format_energy(cost['cost/kwh'])} ({sure})",
        f"{units.format_mass(cost['cost/co2e_kg'])} CO2e",
        units.format_money(cost["cost/usd"]),
    )
    return ", ".join(parts)


def _rank(name: str) -> tuple[int, str]:
    return (MAIN_MEASURES.index(name) if name in MAIN_MEASURES else len(MAIN_MEASURES), name)


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
