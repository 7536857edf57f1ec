"""End a training after Ctrl-C."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.interrupts import let_the_next_one_end_it, raise_if_asked


class Interruptible(Callback):
    """Raise a Ctrl-C that a library swallowed at the next batch, and let a second one end a shutdown that hangs."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        raise_if_asked()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        raise_if_asked()

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        raise_if_asked()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        let_the_next_one_end_it()
