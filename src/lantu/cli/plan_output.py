"""A plan as text for the terminal and as JSON."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from math import inf
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lantu.errors import UserError
from lantu.planning import chinchilla
from lantu.planning.planner import TIME_UNKNOWN
from lantu.units import format_duration, format_energy, format_mass, format_money

if TYPE_CHECKING:
    from lantu.planning.alternatives import Alternative
    from lantu.planning.own_law import Forecast
    from lantu.planning.plan import Job, Plan
    from lantu.planning.planner import Planner

Line = tuple[str, str]
"""A row of the table: its name, empty for a further line of the same name, and its text."""


def print_plan(plan: "Plan", planner: "Planner", console: Console, *, forecast: "Forecast | None" = None) -> None:
    """Print a plan, a line for each question.

    Args:
        forecast: of the loss, by the user's own runs.
    """
    job, fit, hardware = plan.job_done, plan.fit, plan.hardware
    lines = [
        ("network", f"{job.network}, {job.parameters:,} weights; {_workload(job)}{job.precision}"),
        (
            "devices",
            f"{fit.devices} × {hardware.name}, each with {'a share of the' if fit.sharded else 'all'} weights"
            f"{', activations computed again' if fit.checkpointing else ''}: {fit.trainer}",
        ),
        (
            "memory",
            f"{fit.bytes_of_one / 2**30:.1f} of {hardware.memory_gib:g} GiB with one example on each device; at most "
            f"{fit.examples:,} fit{_with_checkpointing(plan, planner)}",
        ),
        *_time_and_cost_lines(plan),
        *_loss_lines(job, forecast),
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, text in lines:
        table.add_row(name, text)
    console.print(table, highlight=False)


def print_alternatives(plan: "Plan", alternatives: "Sequence[Alternative]", console: Console) -> None:
    """Print a table of alternatives to a plan; nothing without any."""
    if not alternatives:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), title="\nother ways", title_justify="left")
    for column in ("", "time", "money", "GiB", "loss"):
        table.add_column(column, justify="left" if not column else "right", overflow="fold")
    for each in alternatives:
        hours = each.plan.range_of_hours
        same_network = each.plan.job.parameters == plan.job.parameters
        table.add_row(
            each.description,
            _format_hours(hours[0]) if hours else "?",
            format_money(each.plan.usd(hours[0])) if hours else "?",
            f"{each.plan.fit.bytes_of_one / 2**30:.0f}" if same_network else "",
            "" if each.loss is None else f"{each.loss:.3f}",
        )
    console.print(table, highlight=False)


def print_sweep(plans: "Sequence[Plan]", console: Console, *, runs: int) -> None:
    """Print what a sweep takes, its runs one after the other on the same devices.

    Args:
        plans: of its points, or of some that stand for all.
        runs: how many there are.
    """
    ranges = [plan.range_of_hours for plan in plans]
    known = [each for each in ranges if each is not None]
    devices = sorted({plan.fit.devices for plan in plans})
    of = f", each like the mean of {len(plans)} points" if runs != len(plans) > 1 else ""
    count = " to ".join(map(str, (devices[0], devices[-1])[: len(devices)]))
    console.print(f"a sweep of {runs:,} runs{of}, {count} {'device' if devices == [1] else 'devices'} each")
    if len(known) < len(plans):
        console.print(f"time not known: {TIME_UNKNOWN}", highlight=False, soft_wrap=True)
        return
    scale = runs / len(plans)
    hours, fewest, most = (scale * sum(each[place] for each in known) for place in range(3))
    usd, kwh, kg = (
        scale * sum(getattr(plan, name)(each[0]) for plan, each in zip(plans, known, strict=True))
        for name in ("usd", "kwh", "co2e_kg")
    )
    console.print(
        f"{_format_hours(hours)} ({_format_hours(fewest)} to {_format_hours(most)}) one after the other, "
        f"{format_money(usd)}, {format_energy(kwh)}, {format_mass(kg)} CO2e; trials that a pruner ends early take less",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def write_json(file: str, plan: "Plan", alternatives: "Sequence[Alternative]") -> None:
    """Write the figures of a plan and of its alternatives.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with open(file, "w", encoding="utf-8") as output:
            output.write(as_json(plan, alternatives))
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}.") from error


def as_json(plan: "Plan", alternatives: "Sequence[Alternative]") -> str:
    """The figures of a plan and of its alternatives."""
    others = [{"what": each.description, "loss": each.loss, **_figures(each.plan)} for each in alternatives]
    return json.dumps(_figures(plan) | {"other ways": others}, indent=1)


def _figures(plan: "Plan") -> dict[str, Any]:
    hours = plan.range_of_hours
    costs = {} if hours is None else {name: [getattr(plan, name)(each) for each in hours] for name in _COSTS}
    return {
        "hardware": plan.hardware.name,
        "parameters": plan.job.parameters,
        "examples": plan.job.examples,
        "tokens": plan.job.tokens if plan.job.context > 1 else None,
        "flops": plan.job.flops,
        "fit": asdict(plan.fit),
        "utilisation": asdict(plan.utilisation) if plan.utilisation else None,
        "hours": hours,
        **costs,
    }


_COSTS = ("usd", "kwh", "co2e_kg")


def _workload(job: "Job") -> str:
    if job.examples == inf:
        return "as much as is read in the time; "
    if job.context > 1:
        examples = f"{job.tokens:.3g} tokens in sequences of {job.context:,}"
    else:
        examples = f"{job.examples:,.0f} examples"
    return f"{examples}; {job.flops:.2g} model FLOPs; "


def _with_checkpointing(plan: "Plan", planner: "Planner") -> str:
    fit = plan.fit
    if fit.checkpointing or not plan.job.repeated_parts:
        return ""
    more = planner.fit(fit.devices, sharded=fit.sharded, checkpointing=True)
    return f", {more.examples:,} with activation_checkpointing=true" if more and more.examples > fit.examples else ""


def _time_and_cost_lines(plan: "Plan") -> list[Line]:
    if plan.range_of_hours is None:
        limit = plan.job_done.hours_at_most
        at_most = f"at most {_format_hours(limit)}; " if limit is not None else ""
        return [("time", f"{at_most}not known: {TIME_UNKNOWN}")]
    assert plan.utilisation is not None
    hours, fewest, most = plan.range_of_hours
    u = plan.utilisation
    span = f" ({_format_hours(fewest)} to {_format_hours(most)})" if most > fewest else ""
    share = f" ({u.low:.0%} to {u.high:.0%})" if u.high > u.low else ""
    device_hours = hours * plan.fit.devices
    return [
        ("time", f"{_format_hours(hours)}{span} at {u.value:.0%}{share} of the peak: {u.source}"),
        *([("", _time_limit(plan))] if plan.is_cut_short else []),
        (
            "money",
            f"{_range(plan.usd, plan, format_money)}, "
            f"{f'{device_hours:,.0f}' if device_hours >= 10 else f'{device_hours:.2g}'} device hours at list prices",
        ),
        ("energy", f"{_range(plan.kwh, plan, format_energy)} at the devices' design power × {plan.economics.pue:g}"),
        ("carbon", f"{_range(plan.co2e_kg, plan, format_mass)} CO2e ({plan.economics.country})"),
    ]


def _time_limit(plan: "Plan") -> str:
    """How much of the data training reads until `trainer.max_time`."""
    assert plan.utilisation is not None
    u, job, noun = plan.utilisation, plan.job, "examples"
    expected, low, high = (plan.examples_read(each) for each in (u.value, u.low, u.high))
    if job.context > 1:
        expected, low, high, noun = expected * job.context, low * job.context, high * job.context, "tokens"
    whole = f" of {job.examples * job.context:.3g}" if job.examples < inf else ""
    span = f" ({low:.3g} to {high:.3g})" if u.high > u.low else ""
    return f"`trainer.max_time` ends it after {expected:.3g}{span}{whole} {noun}"


def _loss_lines(job: "Job", forecast: "Forecast | None") -> list[Line]:
    """The loss by the user's own runs, and by published fits for language models."""
    lines = []
    if forecast is not None:
        ratio = forecast.times_the_largest
        beyond = f", {ratio:,.1f} times beyond the largest of them" if ratio > 1 else ""
        lines.append(
            f"{forecast.metric} {forecast.loss:.3g} ({forecast.low:.3g} to {forecast.high:.3g}, 95 %) by the law "
            f"fitted to {forecast.runs} runs of your own{beyond}"
        )
    if job.is_gpt and job.context > 1 and job.examples < inf:
        size, tokens = job.parameters, job.tokens
        low, high = chinchilla.interval(size, tokens)
        lines.append(
            f"{chinchilla.loss(size, tokens):.2f} nats a token ({low:.2f} to {high:.2f}, 95 % of the fit) by Besiroglu "
            f"et al. 2024, {chinchilla.loss(size, tokens, chinchilla.HOFFMANN):.2f} by Hoffmann et al. 2022, on their "
            f"text and tokenizer; {tokens / size:,.0f} tokens a weight"
        )
    return [("loss" if place == 0 else "", line) for place, line in enumerate(lines)]


def _range(amount: Callable[[float], float], plan: "Plan", as_text: Callable[[float], str]) -> str:
    """An amount that depends on the hours, as expected and from fewest to most hours."""
    assert plan.range_of_hours is not None
    value, low, high = (as_text(amount(hours)) for hours in plan.range_of_hours)
    return value if low == high else f"{value} ({low} to {high})"


def _format_hours(hours: float) -> str:
    return f"{hours / 24:,.1f} days" if hours >= 72 else format_duration(3600 * hours)
