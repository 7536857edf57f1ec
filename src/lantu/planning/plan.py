"""A training run on some devices: how long it takes and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, inf

from lantu.cost.prices import Economics
from lantu.cost.step_memory import StepMemory
from lantu.planning.utilisation import Utilisation

PER_NODE = 8
"""Devices of a node."""
TYPED = "as you typed it"
"""The source of a utilisation that the user gave."""


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
        nodes = next(each for each in range(nodes, self.devices + 1) if self.devices % each == 0)
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
