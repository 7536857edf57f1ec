"""Small callbacks that Lightning's own do not quite do."""

import shutil
import time
from math import inf
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar

from lantu.checkpoints.files import settled
from lantu.interrupts import let_the_next_one_end_it, raise_if_asked
from lantu.intervals import log_interval, steps_done
from lantu.loggers import log_metrics

BEST = "best"


class LearningRate(Callback):
    """Records `train/lr` at the steps that are logged: one number, the rate of the first parameter group.

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


class BestCheckpoints(ModelCheckpoint):
    """Lightning's; where it keeps several, they are named by their steps, and `best.ckpt` is the best of them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        name: str | None = self.filename  # type: ignore[has-type]  # Lightning sets it where mypy does not look
        if self.save_top_k != 1 and name == BEST:
            self.filename = f"{BEST}-{{step}}"
        super().setup(trainer, pl_module, stage)

    def _remove_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        if settled(trainer, Path(self._last_checkpoint_saved)):  # else the disk refused what was to take its place
            super()._remove_checkpoint(trainer, filepath)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best_k_models and (there := self._best_there(trainer)) in self.best_k_models:
            self.best_model_path, self.best_model_score = there, self.best_k_models[there]
        best = Path(self.best_model_path)
        if trainer.is_global_zero and best.is_file() and best.stem != BEST:
            part = best.with_name(f"{BEST}.part")
            shutil.copyfile(best, part)
            part.replace(best.with_name(f"{BEST}.ckpt"))

    def _best_there(self, trainer: Trainer) -> str:
        """The best checkpoint that rank zero, which writes them, has on its disk: a full one may have refused some."""
        settled(trainer, Path(self.best_model_path))
        scores = {path: float(score) for path, score in self.best_k_models.items() if Path(path).is_file()}
        best = (min if self.mode == "min" else max)(scores, key=lambda path: scores[path], default=self.best_model_path)
        return str(trainer.strategy.broadcast(best) if trainer.world_size > 1 else best)


class Progress(RichProgressBar):
    """Lightning's progress bar; its numbers change as often as can be read, for reading them makes a GPU wait."""

    SECONDS = 0.1
    _read_at = -inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read_at = -inf
        super().on_train_epoch_end(trainer, pl_module)

    def _update_metrics(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = time.monotonic()
        if now - self._read_at >= self.SECONDS:
            self._read_at = now
            super()._update_metrics(trainer, pl_module)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)  # a version number that says nothing to anyone
        return shown

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs counted from 1, and no "/-2" where the steps decide how many there are."""
        epochs = self.trainer.max_epochs or 0
        text = f"Epoch {current_epoch + 1}" + (f"/{epochs}" if epochs > 0 else "")
        return text.ljust(len(self.validation_description))


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
