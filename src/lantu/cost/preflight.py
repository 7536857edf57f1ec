"""What a run will take, estimated from its first steps, and how far off that was."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer

SKIPPED, TIMED = 3, 10
"""Steps that warm up, and the step at which the estimate is made."""
FORWARD_SHARE = 1 / 3
"""Of a training step's time, which is what a validation batch takes: the backward pass costs twice the forward one."""


@dataclass(frozen=True)
class Estimate:
    """Of the whole run."""

    hours: float
    kwh: float
    usd: float
    co2e_kg: float
    memory_gib: float
    memory_share: float

    def metrics(self) -> dict[str, float]:
        return {"preflight/hours": self.hours, "preflight/kwh": self.kwh, "preflight/usd": self.usd}

    def errors(self, *, hours: float, kwh: float, usd: float) -> dict[str, float]:
        """Estimated over actual, minus 1, where there is something to compare."""
        pairs = {"hours": (self.hours, hours), "kwh": (self.kwh, kwh), "usd": (self.usd, usd)}
        return {f"preflight/{name}_error": a / b - 1 for name, (a, b) in pairs.items() if b > 0 and isfinite(a)}


def seconds_left(trainer: Trainer, step_seconds: float) -> float:
    """How long the rest of a run takes, at a time per training batch, with its validations.

    Infinite where the data have no length and neither steps nor time are limited.

    Args:
        step_seconds: of one training batch, waiting included.
    """
    batches_per_epoch = float(trainer.num_training_batches)  # infinite for data without a length
    done = trainer.fit_loop.epoch_loop.total_batch_idx + 1  # those before a resume too
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
