"""Choose the devices of a training run: the fewest that hold a step, or that end in time."""

from dataclasses import dataclass
from functools import partial

from lantu.cost.prices import Economics
from lantu.cost.step_memory import GIB, RESERVED, largest
from lantu.errors import UserError
from lantu.planning.plan import TYPED, Fit, Hardware, Job, Plan
from lantu.planning.utilisation import Utilisation, expected

DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Numbers of devices among which one is chosen; also the alternatives to the one that was asked for."""
TIME_UNKNOWN = (
    "how much of a device's speed this network uses is not known: no run of its kind is in the table of published "
    "runs. Type `utilisation=0.3` where you know it; a run tells it as `speed/mfu`, and its duration after ten steps."
)


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
