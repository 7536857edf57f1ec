"""Other ways to spend what a planned run takes: other devices, and other sizes of network and text."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lantu.planning import chinchilla
from lantu.planning.plan import Hardware, Plan
from lantu.planning.planner import Planner


@dataclass(frozen=True)
class Alternative:
    """A plan beside the one that was asked for."""

    description: str
    plan: Plan
    loss: float | None


def alternatives(plan: Plan, planner: Planner, others: dict[str, Hardware]) -> Iterator[Alternative]:
    """Yield half and twice the devices, other devices, and other sizes that use the same FLOPs or reach the same loss.

    Args:
        others: further devices by their names in `conf/hardware`.
    """
    job = plan.job
    loss = chinchilla.loss(job.parameters, job.tokens) if job.is_gpt else None
    for devices in (plan.fit.devices // 2, plan.fit.devices * 2):
        if devices >= 1 and (other := planner.on(devices)) is not None:
            yield Alternative(f"{devices} {'device' if devices == 1 else 'devices'}", other, loss)
    for name, hardware in others.items():
        for devices in (plan.fit.devices, 2 * plan.fit.devices, 4 * plan.fit.devices):
            if (other := replace(planner, hardware=hardware).on(devices)) is not None:
                yield Alternative(f"{devices} × {name}", other, loss)
                break
    if not job.is_gpt or loss is None:
        return
    parameters, tokens = chinchilla.optimum(6 * job.parameters * job.tokens)
    yield Alternative(
        f"{_amount(parameters)} weights, {_amount(tokens)} tokens: the lowest loss for the same FLOPs",
        _resized(plan, parameters, tokens), chinchilla.loss(parameters, tokens),
    )  # fmt: skip
    enough = chinchilla.tokens_for(loss, job.parameters / 2)
    if enough is not None:
        yield Alternative(
            f"{_amount(job.parameters / 2)} weights, {_amount(enough)} tokens: the same loss, half the cost of use",
            _resized(plan, job.parameters / 2, enough), loss,
        )  # fmt: skip


def _resized(plan: Plan, parameters: float, tokens: float) -> Plan:
    """The same plan for another size, whose FLOPs grow with weights and tokens."""
    job = plan.job
    flops = job.flops_per_example * parameters / job.parameters
    resized = replace(job, parameters=round(parameters), flops_per_example=round(flops), examples=tokens / job.context)
    return replace(plan, job=resized)


def _amount(number: float) -> str:
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,.0f}"
