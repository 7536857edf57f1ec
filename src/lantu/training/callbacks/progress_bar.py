"""Show the progress of a training."""

import time
from math import inf
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Lightning's progress bar, updated ten times a second: reading the metrics at every step would make a GPU wait."""

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
        shown.pop("v_num", None)  # the logger's version number
        return shown

    def _get_train_description(self, current_epoch: int) -> str:
        """Epochs counted from 1, and no "/-2" where the steps decide how many there are."""
        epochs = self.trainer.max_epochs or 0
        text = f"Epoch {current_epoch + 1}" + (f"/{epochs}" if epochs > 0 else "")
        return text.ljust(len(self.validation_description))
