"""A trial that trains in a population: it shows how it does, and leaves a copy that others may go on from."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.checkpoints.files import settled

CHECKPOINT = "checkpoint.ckpt"


class Population(Callback):
    """Reports to Ray Tune at every validation, with a checkpoint; takes over the settings that Tune has varied.

    A checkpoint brings the optimizer's settings along: those of the trial that wrote it. What has been varied since
    replaces them when training begins, schedules included.

    Args:
        monitor: the metric that Tune compares.
        optimizer: settings that are varied while training, such as `lr` and `weight_decay`.
    """

    def __init__(self, *, monitor: str, optimizer: Mapping[str, float]) -> None:
        self.monitor, self.optimizer = monitor, dict(optimizer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace what the checkpoint has brought."""
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                for name, value in self.optimizer.items():
                    vary(group, name, float(value))
        for config in trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [group["initial_lr"] for group in config.scheduler.optimizer.param_groups]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Tune know; it may end this process while we do."""
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
    """Whether training ends with this validation: a copy of another trial would find nothing left to learn."""
    epochs, steps = trainer.max_epochs or 0, trainer.max_steps
    is_last_epoch = trainer.is_last_batch and 0 < epochs <= trainer.current_epoch + 1
    return bool(is_last_epoch or 0 < steps <= trainer.global_step)


def vary(group: dict[str, Any], name: str, value: float) -> None:
    """Give a parameter group another value of a setting.

    The learning rate keeps its place in its schedule; a group that leaves decay out, as norms and biases do, stays so.
    """
    if name == "lr":
        before = group.setdefault("initial_lr", group["lr"])
        group["lr"] *= value / before
        group["initial_lr"] = value
    elif group.get(name):
        group[name] = value
