"""Log the learning rate."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.intervals import log_interval, steps_done
from lantu.loggers import log_metrics


class LearningRate(Callback):
    """Log `train/lr` at the steps that are logged: one number, the rate of the first parameter group.

    A task with several optimizers has `train/lr_2` and so on for the others. Lightning's LearningRateMonitor records
    one curve per group; ours differ in weight decay only.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = steps_done(trainer)
        if trainer.optimizers and (step + 1) % log_interval(trainer) == 0:
            rates = {
                "train/lr" if number == 1 else f"train/lr_{number}": float(optimizer.param_groups[0]["lr"])
                for number, optimizer in enumerate(trainer.optimizers, start=1)
            }
            log_metrics(trainer, rates, step=step)
