"""Small callbacks that Lightning's own do not quite do."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar

from lantu.interrupts import let_the_next_one_end_it, raise_if_asked


class LearningRate(Callback):
    """Records `train/lr` at the steps that are logged: one number, the rate of the first parameter group.

    Lightning's LearningRateMonitor records one curve per group; ours differ in weight decay only.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.optimizers and (trainer.global_step + 1) % (trainer.log_every_n_steps or 50) == 0:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            for logger in trainer.loggers:
                logger.log_metrics({"train/lr": float(rate)}, step=trainer.global_step)


class Progress(RichProgressBar):
    """Lightning's progress bar without a version number that says nothing to anyone."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        return shown


class Interruptible(Callback):
    """Raises at every batch a Ctrl-C that got lost, and lets a second one end a shutdown that is stuck."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        raise_if_asked()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        raise_if_asked()

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        raise_if_asked()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        let_the_next_one_end_it()
