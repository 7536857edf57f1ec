"""How long a training run takes on some devices, what it costs, and what would be cheaper."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import ceil, inf

from lantu.cost.prices import Economics
from lantu.cost.step_memory import GIB, RESERVED, StepMemory, largest
from lantu.errors import UserError
from lantu.planning import chinchilla
from lantu.planning.utilisation import Utilisation, expected

DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Numbers of devices among which one is chosen; also the alternatives to the one that was asked for."""
PER_NODE = 8


@dataclass(frozen=True)
class Hardware:
    """A device, by its maker's data sheet."""

    name: str
    tflops_16bit: float
    tflops_32bit: float
    memory_gib: float
    watts: float

    def peak(self, precision: str) -> float:
        """FLOP/s at a precision of Lightning's."""
        return 1e12 * (self.tflops_16bit if "16" in precision else self.tflops_32bit)


@dataclass(frozen=True)
class Job:
    """What is to be trained."""

    network: str
    parameters: int
    flops_per_example: int
    """Forward and backward pass; what is computed again is not counted."""
    examples: float
    """All that training reads, repeated ones included."""
    context: int
    """Tokens of an example; 1: it is no text."""
    precision: str
    memory: Callable[[bool], StepMemory]
    """Of a step, with activations kept (False) or computed again (True)."""
    is_gpt: bool
    """Whether published runs tell how fast it trains."""
    repeated_parts: bool
    """Whether it has parts whose activations can be computed again, and that FSDP can gather one by one."""
    unique_examples: float | None = None
    """Different examples among them; None: all are."""
    hours_at_most: float | None = None
    """Hours after which training ends, wherever it is (`trainer.max_time`)."""

    @property
    def tokens(self) -> float:
        return self.examples * self.context

    @property
    def flops(self) -> float:
        """Model FLOPs of the whole run."""
        return self.flops_per_example * self.examples


@dataclass(frozen=True)
class Fit:
    """How a step fits on each device."""

    devices: int
    sharded: bool
    checkpointing: bool
    examples: int
    """The most that fit on a device at once."""
    bytes_of_one: float
    """What a step over one example takes, with what is reserved."""

    @property
    def trainer(self) -> str:
        """The overrides that ask for it."""
        nodes = max(1, ceil(self.devices / PER_NODE))
        name = "fsdp" if self.sharded else "ddp" if self.devices > 1 else "gpu"
        words = [f"trainer={name}"]
        if self.devices > 1:
            words.append(f"trainer.devices={self.devices // nodes}")
        if nodes > 1:
            words.append(f"trainer.num_nodes={nodes}")
        if self.checkpointing:
            words.append("activation_checkpointing=true")
        return " ".join(words)


@dataclass(frozen=True)
class Plan:
    """A run on some devices. What cannot be known is None."""

    job: Job
    hardware: Hardware
    fit: Fit
    economics: Economics
    utilisation: Utilisation | None
    grams_co2e_per_kwh: float
    notes: list[str] = field(default_factory=list)

    def hours(self, utilisation: float) -> float:
        """Of all devices together, side by side; no more than the training may take."""
        return min(self._hours_of_all(utilisation), self.job.hours_at_most or inf)

    def share_read(self, utilisation: float) -> float:
        """The share of its examples that training has read when its time ends; 1: all."""
        return self.hours(utilisation) / self._hours_of_all(utilisation)

    def examples_read(self, utilisation: float) -> float:
        """Examples that training reads, in the time that it has."""
        if self.job.examples < inf:
            return self.share_read(utilisation) * self.job.examples
        return self.hours(utilisation) * 3600 / self._seconds_of_one(utilisation)

    @property
    def is_cut_short(self) -> bool:
        """Whether the time that training may take ends it before its examples do."""
        return self.utilisation is not None and self.share_read(self.utilisation.value) < 1

    @property
    def job_done(self) -> Job:
        """The job as far as it gets in the time that it has, as expected."""
        if self.job.hours_at_most is None or self.utilisation is None:
            return self.job
        return replace(self.job, examples=self.examples_read(self.utilisation.value), hours_at_most=None)

    def _hours_of_all(self, utilisation: float) -> float:
        return self._seconds_of_one(utilisation) * self.job.examples / 3600

    def _seconds_of_one(self, utilisation: float) -> float:
        rate = self.hardware.peak(self.job.precision) * self.fit.devices * utilisation
        again = 4 / 3 if self.fit.checkpointing and self.utilisation_is_typed else 1.0
        return again * self.job.flops_per_example / rate

    @property
    def utilisation_is_typed(self) -> bool:
        """Published utilisation of large networks has recomputation in it; a number of the user's own has not."""
        return self.utilisation is not None and self.utilisation.source == TYPED

    @cached_property
    def range_of_hours(self) -> tuple[float, float, float] | None:
        """Hours expected, fewest and most."""
        if self.utilisation is None:
            return None
        u = self.utilisation
        return self.hours(u.value), self.hours(u.high), self.hours(u.low)

    def kwh(self, hours: float) -> float:
        """All devices at their design power, with the data centre's overhead; what is around them is not counted."""
        return hours * self.fit.devices * self.hardware.watts / 1000 * self.economics.pue

    def usd(self, hours: float) -> float:
        return self.economics.usd(device=self.hardware.name, device_hours=hours * self.fit.devices, kwh=self.kwh(hours))

    def co2e_kg(self, hours: float) -> float:
        return self.kwh(hours) * self.grams_co2e_per_kwh / 1000


TYPED = "as you typed it"


@dataclass(frozen=True)
class Planner:
    """Plans a job on one kind of device."""

    job: Job
    hardware: Hardware
    economics: Economics
    grams_co2e_per_kwh: float
    utilisation: float | None = None
    """The user's own; None: that of published runs, where there are any of the kind."""

    def on(self, devices: int, *, checkpointing: bool | None = None) -> Plan | None:
        """The plan for a number of devices; None: it does not fit on them.

        Args:
            checkpointing: None: only where it does not fit otherwise.
        """
        for sharded in (False, True) if devices > 1 else (False,):
            for again in (False, True) if checkpointing is None else (checkpointing,):
                if again and not self.job.repeated_parts:
                    continue
                fit = self.fit(devices, sharded=sharded, checkpointing=again)
                if fit is not None:
                    return self._plan(fit)
        return None

    def fit(self, devices: int, *, sharded: bool, checkpointing: bool) -> Fit | None:
        """How a step fits; None: not even one example does."""
        memory = self.job.memory(checkpointing)
        share = 0.5 if "16" in self.job.precision else 1.0
        total = partial(memory.total, devices=devices, sharded=sharded, gathered_share=share)
        most = largest(lambda examples: total(examples) + RESERVED <= self.hardware.memory_gib * GIB)
        return Fit(devices, sharded, checkpointing, most, total(1) + RESERVED) if most else None

    def fewest(self) -> Plan:
        """The plan on the fewest devices that hold it.

        Raises:
            UserError: not even the most of `DEVICES` do.
        """
        for devices in DEVICES:
            if (plan := self.on(devices)) is not None:
                return plan
        need = self.job.memory(self.job.repeated_parts).total(1, devices=DEVICES[-1], sharded=True) / GIB
        raise UserError(
            f"one example needs {need:.0f} GiB on each of {DEVICES[-1]} devices, and {self.hardware.name} has "
            f"{self.hardware.memory_gib:g}: shorten `context=`, make the network smaller, or plan for a larger device."
        )

    def within(self, hours: float) -> Plan:
        """The plan on the fewest devices that end in time.

        Raises:
            UserError: none of `DEVICES` do, or the time cannot be known.
        """
        for devices in DEVICES:
            plan = self.on(devices)
            if plan is None:
                continue
            if plan.range_of_hours is None:
                raise UserError(TIME_UNKNOWN)
            if plan.range_of_hours[2] <= hours:
                return plan
        raise UserError(
            f"not even {DEVICES[-1]} × {self.hardware.name} end surely within {hours / 24:g} days: train on fewer "
            "tokens, or a smaller network."
        )

    def _plan(self, fit: Fit) -> Plan:
        if self.utilisation is not None:
            found = Utilisation(self.utilisation, self.utilisation, self.utilisation, TYPED)
        elif self.job.is_gpt:
            found = expected(
                self.hardware.name, parameters=self.job.parameters, context=self.job.context, devices=fit.devices
            )
        else:
            found = None
        return Plan(self.job, self.hardware, fit, self.economics, found, self.grams_co2e_per_kwh)


TIME_UNKNOWN = (
    "how much of a device's speed this network uses is not known: no run of its kind is in the table of published "
    "runs. Type `utilisation=0.3` where you know it; a run tells it as `speed/mfu`, and its duration after ten steps."
)


@dataclass(frozen=True)
class Alternative:
    """Another way, beside what was asked."""

    what: str
    plan: Plan
    loss: float | None


def alternatives(asked: Plan, planner: Planner, others: dict[str, Hardware]) -> Iterator[Alternative]:
    """Half and twice the devices, other devices, and other sizes that use the same FLOPs or reach the same loss.

    Args:
        others: further devices by their names in `conf/hardware`.
    """
    job = asked.job
    loss = chinchilla.loss(job.parameters, job.tokens) if job.is_gpt else None
    for devices in (asked.fit.devices // 2, asked.fit.devices * 2):
        if devices >= 1 and (plan := planner.on(devices)) is not None:
            yield Alternative(f"{devices} devices", plan, loss)
    for name, hardware in others.items():
        for devices in (asked.fit.devices, 2 * asked.fit.devices, 4 * asked.fit.devices):
            if (plan := replace(planner, hardware=hardware).on(devices)) is not None:
                yield Alternative(f"{devices} × {name}", plan, loss)
                break
    if not job.is_gpt or loss is None:
        return
    parameters, tokens = chinchilla.optimum(6 * job.parameters * job.tokens)
    yield Alternative(
        f"{_amount(parameters)} weights, {_amount(tokens)} tokens: the lowest loss for the same FLOPs",
        _resized(asked, parameters, tokens), chinchilla.loss(parameters, tokens),
    )  # fmt: skip
    enough = chinchilla.tokens_for(loss, job.parameters / 2)
    if enough is not None:
        yield Alternative(
            f"{_amount(job.parameters / 2)} weights, {_amount(enough)} tokens: the same loss, half the cost of use",
            _resized(asked, job.parameters / 2, enough), loss,
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
