"""`lantu plan`: devices, memory, time, money, energy and loss of a training run, before it is paid for."""

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from lantu.config.build import build
from lantu.config.checking import check
from lantu.config.composing import Composition, compose, config_search
from lantu.config.explain import options
from lantu.config.spec_fields import config_file
from lantu.config.sweeping import points
from lantu.errors import UserError
from lantu.suggestions import did_you_mean
from lantu.units import format_duration, format_energy, format_mass, format_money

if TYPE_CHECKING:
    from lantu.planning.own_law import Forecast
    from lantu.planning.plan import Alternative, Hardware, Job, Plan, Planner

HELP = """\
Say what a training run will take, before it starts: lantu plan [hardware=NAME] [OVERRIDE ...]

  lantu plan model=gpt preset=7b tokens=140e9 context=4096 hardware=h100 trainer.devices=64
  lantu plan model=gpt preset=1b tokens=20e9 days=7           how many devices end in a week?
  lantu plan data=fashion_mnist model=resnet hardware=l4      any network, on data that can be read
  lantu plan -m model=gpt preset=124m tokens=2e9 optimizer.lr=1e-3,6e-4 seed=0,1,2    what a sweep takes

  hardware=h100      a file of conf/hardware: what one device does
  tokens=140e9       text that is read, repeated text included; then no data are needed
  context=2048       tokens of a sequence; vocab_size=50304
  trainer.devices=8  in all; left out: the fewest that hold a step
  days=30            choose as many devices as end in time
  utilisation=0.4    of the device's peak; left out: what published runs reached
  runs=EXPERIMENT    the loss by the scaling law of your own runs of that MLflow experiment
  sweep=50           so many runs like this one; -m plans the points of a sweep, or its hydra.sweeper.n_trials
  json=FILE          write the figures there too
"""
_OWN = ("hardware", "tokens", "context", "vocab_size", "days", "utilisation", "json", "runs", "sweep")
_CHOSEN = ("trainer", "trainer.devices", "trainer.num_nodes", "trainer.precision", "activation_checkpointing")
"""What a plan chooses."""
_TRIALS = "hydra.sweeper.n_trials="
_MOST_POINTS = 64


def plan_main(argv: list[str]) -> int:
    """Plan what overrides ask for, and print it; returns the exit status."""
    if not argv or any(each in ("--help", "-h") for each in argv):
        print(HELP, end="")
        return 0
    multirun = any(each in ("-m", "--multirun") for each in argv)
    typed = [_plain_name(each) for each in argv if each not in ("-m", "--multirun")]
    own = {key: value for key, _, value in (each.partition("=") for each in typed) if key in _OWN}
    overrides = [each for each in typed if each.partition("=")[0] not in _OWN]
    if multirun and "json" in own:
        raise UserError("`json=` keeps the figures of one plan, and `-m` plans a sweep: leave one of them out.")
    numbers = _numbers(own)
    trials = [each.removeprefix(_TRIALS) for each in overrides if each.startswith(_TRIALS)]
    if trials and "sweep" not in numbers:
        numbers |= _numbers({"sweep": trials[-1]})
    if "tokens" in numbers:
        if named := [each for each in overrides if each.startswith("data=")]:
            raise UserError(f"`tokens=` plans without data, and `{named[0]}` names some: leave one of them out.")
        overrides = ["data=text_files", "data.path=unread", *overrides]
    with config_search():
        hardware = _hardware(own.get("hardware", "h100"))
        every = [tuple(each) for each in points(overrides)] if multirun else [tuple(overrides)]
        if len(every) > _MOST_POINTS:
            raise UserError(f"the sweep has {len(every)} points; plan at most {_MOST_POINTS} at once.")
        compositions = [_composed(point) for point in every]
    plans = [_plan(each, hardware, numbers) for each in compositions]
    console = Console()
    asked, planner, _ = plans[0]
    runs = int(numbers.get("sweep", len(plans)))
    if multirun:
        show_sweep([plan for plan, _, _ in plans], console, runs=runs)
        return 0
    forecast = _forecast(own.get("runs"), asked, compositions[0])
    show(asked, planner, console, forecast=forecast)
    done = replace(asked, job=asked.job_done)
    found = list(_alternatives(done, replace(planner, job=done.job))) if done.job.examples < float("inf") else []
    show_alternatives(done, found, console)
    if "sweep" in numbers:
        console.print()
        show_sweep([asked], console, runs=runs)
    console.print(f"\nto train it:  {_command(typed, asked)}", highlight=False, soft_wrap=True)
    if "json" in own:
        _write(own["json"], asked, found)
        console.print(f"written to {own['json']}", highlight=False, soft_wrap=True)
    return 0


def _plan(composition: Composition, hardware: "Hardware", numbers: dict[str, float]) -> "tuple[Plan, Planner, Job]":
    from lantu.cost.energy import carbon_intensity
    from lantu.planning.job import job_of_data, job_of_tokens
    from lantu.planning.plan import Planner

    cfg = composition.cfg
    if cfg.trainer.precision == "32-true" and not any("trainer.precision" in each for each in composition.overrides):
        cfg.trainer.precision = "bf16-mixed"
    if "tokens" in numbers:
        job = job_of_tokens(
            composition,
            tokens=numbers["tokens"],
            context=int(numbers.get("context", 2048)),
            vocab_size=int(numbers.get("vocab_size", 50304)),
        )
    else:
        job = job_of_data(composition)
    economics = build({"_target_": "lantu.cost.prices.Economics", **dict(cfg.economics)})
    grams = economics.grams_co2e_per_kwh or carbon_intensity(economics.country.upper())
    planner = Planner(job, hardware, economics, grams, numbers.get("utilisation"))
    devices = cfg.trainer.devices
    if "days" in numbers:
        return planner.within(24 * numbers["days"]), planner, job
    if isinstance(devices, int) and any(each.startswith("trainer.devices=") for each in composition.overrides):
        count = devices * int(cfg.trainer.num_nodes or 1)
        plan = planner.on(count)
        if plan is None:
            fewest = planner.fewest()
            raise UserError(
                f"a step does not fit on {count} × {hardware.name} ({hardware.memory_gib:g} GiB each). The fewest that "
                f"hold it are {fewest.fit.devices}: `{fewest.fit.trainer}`."
            )
        return plan, planner, job
    return planner.fewest(), planner, job


def show(plan: "Plan", planner: "Planner", console: Console, *, forecast: "Forecast | None" = None) -> None:
    """Print a plan, a line for each question.

    Args:
        forecast: of the loss, by the user's own runs.
    """
    from lantu.planning.plan import TIME_UNKNOWN

    job = plan.job_done
    fit, hardware = plan.fit, plan.hardware
    read = (
        f"{job.tokens:.3g} tokens in sequences of {job.context:,}"
        if job.context > 1
        else f"{job.examples:,.0f} examples"
    )
    if job.examples == float("inf"):
        read = "as much as is read in the time"
    work = f"{job.flops:.2g} model FLOPs; " if job.examples < float("inf") else ""
    lines = [
        ("network", f"{job.network}, {job.parameters:,} weights; {read}; {work}{job.precision}"),
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
    ]
    if plan.range_of_hours is None:
        limit = f"at most {_days(job.hours_at_most)}; " if job.hours_at_most is not None else ""
        lines.append(("time", f"{limit}not known: {TIME_UNKNOWN}"))
    else:
        assert plan.utilisation is not None
        hours, fewest, most = plan.range_of_hours
        u = plan.utilisation
        span = f" ({_days(fewest)} to {_days(most)})" if most > fewest else ""
        share = f" ({u.low:.0%} to {u.high:.0%})" if u.high > u.low else ""
        lines += [
            ("time", f"{_days(hours)}{span} at {u.value:.0%}{share} of the peak: {u.source}"),
            *([("", _cut_short(plan))] if plan.is_cut_short else []),
            ("money", f"{_range(plan, 'usd', format_money)}, {_few(hours * fit.devices)} device hours at list prices"),
            ("energy", f"{_range(plan, 'kwh', format_energy)} at the devices' design power × {plan.economics.pue:g}"),
            ("carbon", f"{_range(plan, 'co2e_kg', format_mass)} CO2e ({plan.economics.country})"),
        ]
    lines += _loss_lines(job, forecast)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, text in lines:
        table.add_row(name, text)
    console.print(table, highlight=False)


def _cut_short(plan: "Plan") -> str:
    """What `trainer.max_time` leaves of the training."""
    assert plan.utilisation is not None
    u, job, word = plan.utilisation, plan.job, "examples"
    read = [plan.examples_read(each) for each in (u.value, u.low, u.high)]
    if job.context > 1:
        read, word = [each * job.context for each in read], "tokens"
    whole = f" of {job.examples * job.context:.3g}" if job.examples < float("inf") else ""
    span = f" ({read[1]:.3g} to {read[2]:.3g})" if u.high > u.low else ""
    return f"`trainer.max_time` ends it after {read[0]:.3g}{span}{whole} {word}"


def _loss_lines(job: "Job", forecast: "Forecast | None") -> list[tuple[str, str]]:
    """The loss by the user's own runs, and by published fits for language models."""
    from lantu.planning import chinchilla

    lines = []
    if forecast is not None:
        beyond = forecast.times_the_largest
        far = f", {beyond:,.1f} times beyond the largest of them" if beyond > 1 else ""
        lines.append(
            f"{forecast.metric} {forecast.loss:.3g} ({forecast.low:.3g} to {forecast.high:.3g}, 95 %) by the law "
            f"fitted to {forecast.runs} runs of your own{far}"
        )
    if job.is_gpt and job.context > 1 and job.examples < float("inf"):
        size, tokens = job.parameters, job.tokens
        low, high = chinchilla.interval(size, tokens)
        lines.append(
            f"{chinchilla.loss(size, tokens):.2f} nats a token ({low:.2f} to {high:.2f}, 95 % of the fit) by Besiroglu "
            f"et al. 2024, {chinchilla.loss(size, tokens, chinchilla.HOFFMANN):.2f} by Hoffmann et al. 2022, on their "
            f"text and tokenizer; {tokens / size:,.0f} tokens a weight"
        )
    return [("loss" if place == 0 else "", line) for place, line in enumerate(lines)]


def show_alternatives(asked: "Plan", found: "list[Alternative]", console: Console) -> None:
    """Print other ways, beside what was asked."""
    if not found:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), title="\nother ways", title_justify="left")
    for column in ("", "time", "money", "GiB", "loss"):
        table.add_column(column, justify="left" if not column else "right", overflow="fold")
    for each in found:
        hours = each.plan.range_of_hours
        same = each.plan.job is asked.job
        table.add_row(
            each.what,
            _days(hours[0]) if hours else "?",
            format_money(each.plan.usd(hours[0])) if hours else "?",
            f"{each.plan.fit.bytes_of_one / 2**30:.0f}" if same else "",
            "" if each.loss is None else f"{each.loss:.3f}",
        )
    console.print(table, highlight=False)


def show_sweep(plans: "list[Plan]", console: Console, *, runs: int) -> None:
    """Print what a sweep takes, its runs one after the other on the same devices.

    Args:
        plans: of its points, or of some that stand for all.
        runs: how many there are.
    """
    from lantu.planning.plan import TIME_UNKNOWN

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
        f"{_days(hours)} ({_days(fewest)} to {_days(most)}) one after the other, {format_money(usd)}, "
        f"{format_energy(kwh)}, {format_mass(kg)} CO2e; trials that a pruner ends early take less",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _forecast(experiment: str | None, plan: "Plan", composition: Composition) -> "Forecast | None":
    if experiment is None:
        return None
    from lantu.planning.own_law import forecast_from
    from lantu.tracking.store import embedded_uri

    job = plan.job_done
    if job.examples == float("inf"):
        raise UserError(
            "`runs=` predicts a loss from the amount of data, which is not known: set `trainer.max_epochs` or "
            "`utilisation=`."
        )
    paths = composition.cfg.paths
    return forecast_from(experiment, tracking_uri=paths.tracking_uri or embedded_uri(str(paths.store)), job=job)


def _alternatives(asked: "Plan", planner: "Planner") -> "list[Alternative]":
    from lantu.planning.plan import alternatives

    with config_search():
        others = {name: _hardware(name) for name in ("h200", "a100", "l40s")}
    kept = {name: each for name, each in others.items() if each.name != asked.hardware.name}
    return list(alternatives(asked, planner, kept))


def _hardware(name: str) -> "Hardware":
    from lantu.planning.plan import Hardware

    file = config_file("hardware", name)
    if file is None:
        known = options("hardware")
        raise UserError(
            f"`hardware={name}`: there is no such device in conf/hardware.{did_you_mean(name, known)} There are: "
            f"{', '.join(known)}; a file of your own beside them adds another."
        )
    return Hardware(**OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]


def _composed(point: tuple[str, ...]) -> Composition:
    composition = compose(*point)
    check(composition)
    return composition


def _numbers(own: dict[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("tokens", "context", "vocab_size", "days", "utilisation", "sweep"):
        if name not in own:
            continue
        try:
            found[name] = float(own[name])
        except ValueError:
            raise UserError(f"`{name}={own[name]}` must be a number, such as 2e9.") from None
        if name == "sweep" and found[name] != int(found[name]):
            raise UserError(f"`sweep={own[name]}` must be a whole number of runs.")
        if not 0 < found[name] < float("inf") or (name == "utilisation" and found[name] > 1):
            raise UserError(f"`{name}={own[name]}` must be above 0{', at most 1' if name == 'utilisation' else ''}.")
    return found


def _plain_name(argument: str) -> str:
    """`data.tokens=` and `model.preset=` for those who look for them there."""
    for longer, name in (("data.tokens=", "tokens="), ("model.preset=", "preset="), ("data.context=", "context=")):
        if argument.startswith(longer):
            return name + argument.removeprefix(longer)
    return argument


def _with_checkpointing(plan: "Plan", planner: "Planner") -> str:
    fit = plan.fit
    if fit.checkpointing or not plan.job.repeated_parts:
        return ""
    more = planner.fit(fit.devices, sharded=fit.sharded, checkpointing=True)
    return f", {more.examples:,} with activation_checkpointing=true" if more and more.examples > fit.examples else ""


def _range(plan: "Plan", name: str, said: Any) -> str:
    assert plan.range_of_hours is not None
    value, low, high = (said(getattr(plan, name)(hours)) for hours in plan.range_of_hours)
    return str(value) if low == high else f"{value} ({low} to {high})"


def _few(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _days(hours: float) -> str:
    return f"{hours / 24:,.1f} days" if hours >= 72 else format_duration(3600 * hours)


def _command(typed: list[str], plan: "Plan") -> str:
    kept = [each for each in typed if each.partition("=")[0] not in (*_OWN, *_CHOSEN)]
    data = [] if any(each.startswith("data=") for each in kept) else ["data=text_files", "data.path=FOLDER"]
    context = [f"data.context={plan.job.context}"] if data else []
    words = [*data, *context, *kept, plan.fit.trainer, f"trainer.precision={plan.job.precision}"]
    return "lantu train " + " ".join(words)


def _write(file: str, plan: "Plan", found: "list[Alternative]") -> None:
    def figures(each: "Plan") -> dict[str, Any]:
        hours = each.range_of_hours
        known = (
            {}
            if hours is None
            else {name: [getattr(each, name)(hour) for hour in hours] for name in ("usd", "kwh", "co2e_kg")}
        )
        return {
            "hardware": each.hardware.name, "parameters": each.job.parameters, "examples": each.job.examples,
            "tokens": each.job.tokens if each.job.context > 1 else None, "flops": each.job.flops,
            "fit": asdict(each.fit), "utilisation": asdict(each.utilisation) if each.utilisation else None,
            "hours": hours, **known,
        }  # fmt: skip

    content = figures(plan) | {
        "other ways": [{"what": each.what, "loss": each.loss, **figures(each.plan)} for each in found]
    }
    try:
        with open(file, "w", encoding="utf-8") as output:
            json.dump(content, output, indent=1)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}.") from error
