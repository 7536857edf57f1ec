"""`lantu plan`: devices, memory, time, money, energy and loss of a training run, before it is paid for."""

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from omegaconf import OmegaConf
from rich.console import Console

from lantu.cli.common_options import without_json_option
from lantu.cli.plan_request import CHOSEN, OWN_OPTIONS, PlanRequest
from lantu.config.build import build
from lantu.config.checking import check
from lantu.config.composing import Composition, compose, config_search
from lantu.config.explain import options
from lantu.config.spec_fields import config_file
from lantu.config.sweeping import points
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

if TYPE_CHECKING:
    from lantu.planning.alternatives import Alternative
    from lantu.planning.own_law import Forecast
    from lantu.planning.plan import Hardware, Job, Plan
    from lantu.planning.planner import Planner

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
  json=FILE          write the figures there too; --json prints them instead of the text
"""
_MOST_POINTS = 64
_OTHER_HARDWARE = ("h200", "a100", "l40s")


def plan_main(argv: list[str]) -> int:
    """Plan what overrides ask for, and print it; returns the exit status."""
    if not argv or any(each in ("--help", "-h") for each in argv):
        print(HELP, end="")
        return 0
    to_print, argv = without_json_option(argv)
    request = PlanRequest.parse(argv)
    if to_print and request.multirun:
        raise UserError("`--json` prints the plan of one run: leave out `-m`.")
    with config_search():
        hardware = _load_hardware(request.options.get("hardware", "h100"))
        compositions = _compose_all(request)
    planned = [_plan(each, hardware, request.numbers) for each in compositions]
    if request.multirun:
        _print_sweep(request, [plan for plan, _ in planned])
    else:
        _print_run(request, *planned[0], compositions[0], to_print=to_print)
    return 0


def _print_sweep(request: PlanRequest, plans: "list[Plan]") -> None:
    from lantu.cli.plan_output import print_sweep

    print_sweep(plans, Console(), runs=int(request.numbers.get("sweep", len(plans))))


def _print_run(
    request: PlanRequest, plan: "Plan", planner: "Planner", composition: Composition, *, to_print: bool
) -> None:
    """Print the plan of one run, its alternatives, and the command that trains it; or all of it as JSON."""
    from lantu.cli.plan_output import as_json, print_alternatives, print_plan, write_json

    if to_print:
        print(as_json(plan, _alternatives(plan, planner)))
        return
    console = Console()
    print_plan(plan, planner, console, forecast=_forecast(request.options.get("runs"), plan, composition))
    alternatives = _alternatives(plan, planner)
    print_alternatives(plan, alternatives, console)
    if "sweep" in request.numbers:
        console.print()
        _print_sweep(request, [plan])
    console.print(f"\nto train it:  {_training_command(request, plan)}", highlight=False, soft_wrap=True)
    if file := request.options.get("json"):
        write_json(file, plan, alternatives)
        console.print(f"written to {file}", highlight=False, soft_wrap=True)


def _compose_all(request: PlanRequest) -> list[Composition]:
    """Compose and check the run, or each point of the sweep."""
    every = [tuple(each) for each in points(list(request.overrides))] if request.multirun else [request.overrides]
    if len(every) > _MOST_POINTS:
        raise UserError(f"the sweep has {len(every)} points; plan at most {_MOST_POINTS} at once.")
    compositions = [compose(*point) for point in every]
    for each in compositions:
        check(each)
    return compositions


def _plan(composition: Composition, hardware: "Hardware", numbers: dict[str, float]) -> "tuple[Plan, Planner]":
    from lantu.cost.energy import carbon_intensity
    from lantu.planning.planner import Planner

    cfg = composition.cfg
    is_typed = any("trainer.precision" in each for each in composition.overrides)
    if cfg.trainer.precision == "auto" or (cfg.trainer.precision == "32-true" and not is_typed):
        cfg.trainer.precision = "bf16-mixed"
    economics = build({"_target_": "lantu.cost.prices.Economics", **dict(cfg.economics)})
    grams = economics.grams_co2e_per_kwh or carbon_intensity(economics.country.upper())
    planner = Planner(_job(composition, numbers), hardware, economics, grams, numbers.get("utilisation"))
    devices = cfg.trainer.devices
    if "days" in numbers:
        return planner.within(24 * numbers["days"]), planner
    if isinstance(devices, int) and any(each.startswith("trainer.devices=") for each in composition.overrides):
        count = devices * int(cfg.trainer.num_nodes or 1)
        plan = planner.on(count)
        if plan is None:
            fewest = planner.fewest()
            raise UserError(
                f"a step does not fit on {count} × {hardware.name} ({hardware.memory_gib:g} GiB each). The fewest that "
                f"hold it are {fewest.fit.devices}: `{fewest.fit.trainer}`."
            )
        return plan, planner
    return planner.fewest(), planner


def _job(composition: Composition, numbers: dict[str, float]) -> "Job":
    from lantu.planning.job import job_of_data, job_of_tokens

    if "tokens" not in numbers:
        return job_of_data(composition)
    return job_of_tokens(
        composition,
        tokens=numbers["tokens"],
        context=int(numbers.get("context", 2048)),
        vocab_size=int(numbers.get("vocab_size", 50304)),
    )


def _forecast(experiment: str | None, plan: "Plan", composition: Composition) -> "Forecast | None":
    """Return the loss by the runs of an MLflow experiment; None: none was named."""
    if experiment is None:
        return None
    from lantu.planning.own_law import forecast_from
    from lantu.tracking.store import embedded_uri

    job = plan.job_done
    if job.examples == inf:
        raise UserError(
            "`runs=` predicts a loss from the amount of data, which is not known: set `trainer.max_epochs` or "
            "`utilisation=`."
        )
    paths = composition.cfg.paths
    return forecast_from(experiment, tracking_uri=paths.tracking_uri or embedded_uri(str(paths.store)), job=job)


def _alternatives(plan: "Plan", planner: "Planner") -> "list[Alternative]":
    """Return alternatives to a plan; none where the amount of data is unknown."""
    from lantu.planning.alternatives import alternatives

    job = plan.job_done
    if job.examples == inf:
        return []
    with config_search():
        others = {name: _load_hardware(name) for name in _OTHER_HARDWARE}
    others = {name: each for name, each in others.items() if each.name != plan.hardware.name}
    return list(alternatives(replace(plan, job=job), replace(planner, job=job), others))


def _load_hardware(name: str) -> "Hardware":
    from lantu.planning.plan import Hardware

    file = config_file("hardware", name)
    if file is None:
        known = options("hardware")
        raise UserError(
            f"`hardware={name}`: there is no such device in conf/hardware.{did_you_mean(name, known)} There are: "
            f"{', '.join(known)}; a file of your own beside them adds another."
        )
    return Hardware(**OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]


def _training_command(request: PlanRequest, plan: "Plan") -> str:
    typed = [each for each in request.typed if each.partition("=")[0] not in (*OWN_OPTIONS, *CHOSEN)]
    if not any(each.startswith("data=") for each in typed):
        typed = ["data=text_files", "data.path=FOLDER", f"data.context={plan.job.context}", *typed]
    return " ".join(["lantu train", *typed, plan.fit.trainer, f"trainer.precision={plan.job.precision}"])
