"""What a run has used so far; a resumed run adds to it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lantu.cost.prices import Economics


@dataclass
class Totals:
    """Totals of one process; `over_ranks` sums them."""

    seconds: float = 0.0
    """Since training began, including validation and test."""
    kwh: float = 0.0
    flops: float = 0.0
    samples: float = 0.0
    tokens: float = 0.0
    steps: float = 0.0
    """Training batches."""
    training_seconds: float = 0.0
    """Time in training batches, including the wait for them."""
    waiting_seconds: float = 0.0
    """Time waiting for data."""

    def plus(self, other: "Totals") -> "Totals":
        return Totals(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def over_ranks(self, add_up: Callable[[Tensor], Tensor], ranks: int) -> "Totals":
        """Sum energy and work over all ranks, and average the clocks.

        Args:
            add_up: sums a tensor over the ranks.
        """
        if ranks == 1:
            return self
        names = list(asdict(self))
        summed = dict(
            zip(names, add_up(torch.tensor(list(asdict(self).values()), dtype=torch.float64)).tolist(), strict=True)
        )
        for clock in ("seconds", "training_seconds", "waiting_seconds", "steps"):
            summed[clock] /= ranks
        return Totals(**summed)

    def cost(self, economics: Economics, *, device: str, devices: int, grams_co2e_per_kwh: float) -> dict[str, float]:
        """Return the cost metrics, named as they are logged."""
        hours = self.seconds / 3600 * devices
        return {
            "cost/device_hours": hours,
            "cost/kwh": self.kwh,
            "cost/co2e_kg": self.kwh * grams_co2e_per_kwh / 1000,
            "cost/usd": economics.usd(device=device, device_hours=hours, kwh=self.kwh),
            "cost/flops": self.flops,
            "cost/samples": self.samples,
        }

    def speed(self, *, devices: int, peak_flops: float | None) -> dict[str, float]:
        """Return the speed metrics, named as they are logged; unknown ones are left out."""
        busy = max(self.training_seconds, 1e-9)
        speed = {
            "speed/samples_per_second": self.samples / busy,
            "speed/step_ms": 1000 * busy / max(self.steps, 1),
            "speed/waiting_for_data": self.waiting_seconds / busy,
        }
        if self.tokens:
            speed["speed/tokens_per_second"] = self.tokens / busy
        if peak_flops and self.flops:
            speed["speed/mfu"] = self.flops / busy / (peak_flops * devices)
        return speed
