"""A callback for population-based training: report the metric and a checkpoint that other trials may copy."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.checkpoints.checkpoint_file import settled

CHECKPOINT = "checkpoint.ckpt"


class Population(Callback):
    """Report the metric and a checkpoint to Ray Tune after every validation, and apply the settings that Tune chose.

    A checkpoint restores the optimizer settings of the trial that wrote it. At the start of training they are replaced
    by the settings that Tune chose for this trial, in the schedules as well.

    Args:
        monitor: the metric that Tune compares.
        optimizer: settings that change during training, such as `lr` and `weight_decay`.
    """

    def __init__(self, *, monitor: str, optimizer: Mapping[str, float]) -> None:
        self.monitor, self.optimizer = monitor, dict(optimizer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the settings that the checkpoint restored."""
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                for name, value in self.optimizer.items():
                    vary(group, name, float(value))
        for config in trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report to Tune, which may end this process during the call."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or trainer.state.fn != "fit" or value is None or _is_last(trainer):
            return
        from ray import tune

        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(Path(folder) / CHECKPOINT)
            settled(trainer, Path(folder) / CHECKPOINT)
            reported = {self.monitor: float(value), "step": trainer.global_step}
            tune.report(reported, checkpoint=tune.Checkpoint.from_directory(folder))


def _is_last(trainer: Trainer) -> bool:
    """Return whether training ends with this validation: a trial that copied this checkpoint would not train at all."""
    epochs, steps = trainer.max_epochs or 0, trainer.max_steps
    is_last_epoch = trainer.is_last_batch and 0 < epochs <= trainer.current_epoch + 1
    return bool(is_last_epoch or 0 < steps <= trainer.global_step)


def vary(group: dict[str, Any], name: str, value: float) -> None:
    """Set an optimizer setting in a parameter group.

    The learning rate keeps its position in the schedule. A group without weight decay (norms, biases) keeps it at 0.
    """
    if name == "lr":
        before = group.setdefault("initial_lr", group["lr"])
        group["lr"] *= value / before
        group["initial_lr"] = value
    elif group.get(name):
        group[name] = value
