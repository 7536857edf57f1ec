"""Stop a training that no longer improves."""

from math import inf
from typing import Any

import torch
from pytorch_lightning.callbacks import EarlyStopping as LightningEarlyStopping

from lantu.training.callbacks.monitored_direction import initial_mode


class EarlyStopping(LightningEarlyStopping):
    """Lightning's EarlyStopping, with the direction of the metric.

    Args:
        monitor: the metric that decides.
        mode: "min" or "max"; "auto": the direction of the metric.
        options: as in Lightning: patience, min_delta, ...
    """

    def __init__(self, *, monitor: str = "val/loss", mode: str = "auto", **options: Any) -> None:
        self.has_mode, found = initial_mode(monitor, mode, option="callbacks.early_stopping.mode")
        super().__init__(monitor=monitor, mode=found, **options)

    def use_mode(self, mode: str) -> None:
        """Set the direction, where only the task's own metric knows it; call it before training."""
        self.has_mode = True
        if mode != self.mode:  # type: ignore[has-type]
            self.mode, self.min_delta = mode, -self.min_delta  # type: ignore[has-type]
        self.best_score = torch.tensor(inf if mode == "min" else -inf)
