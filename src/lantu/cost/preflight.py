"""Estimate the duration and cost of a run from its first steps, and report the error of the estimate at the end."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer

SKIPPED, TIMED = 3, 10
"""Warm-up steps that are not timed, and the step at which the estimate is made."""
FORWARD_SHARE = 1 / 3
"""Time of a validation batch as a fraction of a training step: the backward pass costs twice the forward pass."""


@dataclass(frozen=True)
class Estimate:
    """The estimated totals of a run."""

    hours: float
    kwh: float
    usd: float
    co2e_kg: float
    memory_gib: float
    memory_share: float

    def metrics(self) -> dict[str, float]:
        return {"preflight/hours": self.hours, "preflight/kwh": self.kwh, "preflight/usd": self.usd}

    def errors(self, *, hours: float, kwh: float, usd: float) -> dict[str, float]:
        """Return the relative errors, estimate / actual - 1, where both are known."""
        pairs = {"hours": (self.hours, hours), "kwh": (self.kwh, kwh), "usd": (self.usd, usd)}
        return {f"preflight/{name}_error": a / b - 1 for name, (a, b) in pairs.items() if b > 0 and isfinite(a)}


def seconds_left(trainer: Trainer, step_seconds: float) -> float:
    """Estimate the seconds left in a run, including validation.

    Infinite if the data have no length and neither steps nor time are limited.

    Args:
        step_seconds: duration of one training batch, including the wait for data.
    """
    batches_per_epoch = float(trainer.num_training_batches)  # infinite for data without a length
    done = trainer.fit_loop.epoch_loop.total_batch_idx + 1  # including those before a resume
    batches = max(_batches(trainer, batches_per_epoch) - done, 0)
    left = batches * step_seconds
    interval = min(float(trainer.val_check_batch or batches_per_epoch), batches_per_epoch)
    if isfinite(batches) and isfinite(interval) and interval > 0:
        val_batches = sum(_finite(each) for each in trainer.num_val_batches) / (trainer.check_val_every_n_epoch or 1)
        left += batches / interval * val_batches * step_seconds * FORWARD_SHARE
    timer = next((each for each in trainer.callbacks if isinstance(each, Timer)), None)  # trainer.max_time
    limit = timer.time_remaining() if timer else None
    return left if limit is None else min(left, limit)


def _batches(trainer: Trainer, per_epoch: float) -> float:
    by_epochs = float("inf") if trainer.max_epochs in (None, -1) else trainer.max_epochs * per_epoch
    by_steps = float("inf") if trainer.max_steps == -1 else trainer.max_steps * trainer.accumulate_grad_batches
    return min(by_epochs, by_steps)


def _finite(batches: Any) -> float:
    return 0.0 if batches == float("inf") else float(batches)
