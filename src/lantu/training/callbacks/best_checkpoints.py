"""Keep the best checkpoints, with the validation metrics of their epochs."""

import shutil
from math import inf
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from lantu.checkpoints.checkpoint_file import settled
from lantu.training.callbacks.monitored_direction import initial_mode

BEST = "best"


class BestCheckpoints(ModelCheckpoint):
    """Lightning's ModelCheckpoint; of several checkpoints, named by their steps, the best is copied to `best.ckpt`.

    `best_metrics` has every validation metric of the epoch whose checkpoint is the best.

    Args:
        monitor: the metric that decides.
        mode: "min" or "max"; "auto": the direction of the metric.
        options: as in Lightning.
    """

    def __init__(self, *, monitor: str = "val/loss", mode: str = "auto", **options: Any) -> None:
        self.has_mode, found = initial_mode(monitor, mode, option="callbacks.checkpoint.mode")
        super().__init__(monitor=monitor, mode=found, **options)
        self._metrics_of: dict[str, dict[str, float]] = {}
        self._of_epoch: dict[str, float] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any, **options: Any) -> None:
        """Skip Lightning's own work at every step, unless checkpoints are saved by steps or by time."""
        if not self.idle_hooks(trainer):
            super().on_train_batch_end(trainer, pl_module, *step, **options)

    def idle_hooks(self, trainer: Trainer) -> set[str]:
        """Hooks that do nothing at a step, so that the lean loop need not call them."""
        saves = self._every_n_train_steps >= 1 or self._train_time_interval is not None
        return set() if saves else {"on_train_batch_end"}

    def use_mode(self, mode: str) -> None:
        """Set the direction, where only the task's own metric knows it; call it before training."""
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
        if settled(trainer, Path(self._last_checkpoint_saved)):  # otherwise the disk refused its successor
            super()._remove_checkpoint(trainer, filepath)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best_k_models and (best_path := self._best_on_disk(trainer)) in self.best_k_models:
            self.best_model_path, self.best_model_score = best_path, self.best_k_models[best_path]
        best = Path(self.best_model_path)
        if trainer.is_global_zero and best.is_file() and best.stem != BEST:
            part = best.with_name(f"{BEST}.part")
            shutil.copyfile(best, part)
            part.replace(best.with_name(f"{BEST}.ckpt"))

    def _best_on_disk(self, trainer: Trainer) -> str:
        """Return the best checkpoint on the disk of rank zero, which writes them; a full disk may have refused some."""
        settled(trainer, Path(self.best_model_path))
        scores = {path: float(score) for path, score in self.best_k_models.items() if Path(path).is_file()}
        best = (min if self.mode == "min" else max)(scores, key=lambda path: scores[path], default=self.best_model_path)
        return str(trainer.strategy.broadcast(best) if trainer.world_size > 1 else best)
