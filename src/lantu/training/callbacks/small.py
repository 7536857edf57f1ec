"""Small callbacks that Lightning's own do not quite do."""

import shutil
import time
from math import inf
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping as LightningEarlyStopping
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from torch import Tensor

from lantu.checkpoints.checkpoint_file import settled
from lantu.interrupts import let_the_next_one_end_it, raise_if_asked
from lantu.intervals import log_interval, steps_done
from lantu.loggers import log_metrics
from lantu.metric_direction import direction, known_direction

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
    """Lightning's; where it keeps several, they are named by their steps, and `best.ckpt` is the best of them.

    Every validation metric of the best epoch is kept as `best_metrics`: what "the best" means is the same for all.

    Args:
        monitor: the metric that decides.
        mode: "min" or "max"; "auto": as the metric's name tells.
        options: as in Lightning.
    """

    def __init__(self, *, monitor: str = "val/loss", mode: str = "auto", **options: Any) -> None:
        self.has_mode, found = _tentative(monitor, mode, option="callbacks.checkpoint.mode")
        super().__init__(monitor=monitor, mode=found, **options)
        self._metrics_of: dict[str, dict[str, float]] = {}
        self._of_epoch: dict[str, float] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any, **options: Any) -> None:
        """Nothing, unless it saves by steps or by time: Lightning's own works that out anew at every step."""
        if self._every_n_train_steps >= 1 or self._train_time_interval is not None:
            super().on_train_batch_end(trainer, pl_module, *step, **options)

    def use_mode(self, mode: str) -> None:
        """Take a direction that only the task's own metric tells; before training."""
        self.has_mode, self.mode = True, mode
        self.kth_value = torch.tensor(inf if mode == "min" else -inf)

    @property
    def best_metrics(self) -> dict[str, float]:
        """The validation metrics of the best checkpoint's epoch, by name; {} if there is none."""
        return self._metrics_of.get(self.best_model_path, {})

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "metrics_of": self._metrics_of}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._metrics_of = dict(state_dict.get("metrics_of", {}))

    def _update_best_and_save(self, current: Tensor, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        self._of_epoch = {name: float(value) for name, value in monitor_candidates.items() if name.startswith("val/")}
        super()._update_best_and_save(current, trainer, monitor_candidates)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        self._metrics_of = {path: self._metrics_of.get(path, {}) for path in self.best_k_models}
        if filepath in self._metrics_of:
            self._metrics_of[filepath] = self._of_epoch
        super()._save_checkpoint(trainer, filepath)

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


class EarlyStopping(LightningEarlyStopping):
    """Lightning's, with the direction that the metric's name tells.

    Args:
        monitor: the metric that decides.
        mode: "min" or "max"; "auto": as the metric's name tells.
        options: as in Lightning: patience, min_delta, ...
    """

    def __init__(self, *, monitor: str = "val/loss", mode: str = "auto", **options: Any) -> None:
        self.has_mode, found = _tentative(monitor, mode, option="callbacks.early_stopping.mode")
        super().__init__(monitor=monitor, mode=found, **options)

    def use_mode(self, mode: str) -> None:
        """Take a direction that only the task's own metric tells; before training."""
        self.has_mode = True
        if mode != self.mode:  # type: ignore[has-type]
            self.mode, self.min_delta = mode, -self.min_delta  # type: ignore[has-type]
        self.best_score = torch.tensor(inf if mode == "min" else -inf)


def _tentative(monitor: str, mode: str, *, option: str) -> tuple[bool, str]:
    """Whether the direction is known by now, and the one to begin with: a task's metric may tell it later."""
    if mode == "auto" and known_direction(monitor) is None:
        return False, "min"
    return True, direction(monitor, mode, option=option)


class Progress(RichProgressBar):
    """Lightning's progress bar; its numbers change as often as can be read, for reading them makes a GPU wait."""

    SECONDS = 0.1
    _read_at = _drawn_at = -inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw ten times a second, and the last batch of an epoch; Lightning's bar works at every step."""
        now = time.monotonic()
        if now - self._drawn_at >= self.SECONDS or trainer.is_last_batch:
            self._drawn_at = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

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
