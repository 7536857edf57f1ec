"""The values that a task logs, collected and moved no oftener than they change."""

from typing import Any

import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from torch import Tensor


class Results(_ResultCollection):
    """The values logged in training, or in its validations.

    Lightning collects them after every batch, which synchronises with the GPU for the values in the progress bar. Here
    they are collected only after a new value was logged.
    """

    has_new_values = False
    reads_lazily = False
    """Whether the progress bar converts tensors itself when it draws, as Rich's does and TQDM's does not."""

    def __setitem__(self, name: str, value: _ResultMetric) -> None:
        value.__class__ = _Value
        super().__setitem__(name, value)

    def log(self, *args: Any, **options: Any) -> None:
        self.has_new_values = True
        super().log(*args, **options)

    def metrics(self, on_step: bool) -> Any:
        """As Lightning's, but values for the progress bar stay on the device until the bar draws them."""
        shown = [each for each in self.values() if each.meta.prog_bar]
        if not (on_step and self.reads_lazily and shown):
            return super().metrics(on_step)
        for each in shown:
            each.meta.prog_bar = False
        try:
            found = super().metrics(on_step)
        finally:
            for each in shown:
                each.meta.prog_bar = True
        for _, each in self.valid_items():
            value = self._get_cache(each, on_step) if each.meta.prog_bar else None
            if isinstance(value, Tensor):
                found["pbar"][self._forked_name(each, on_step)[1]] = value
        return found


class _Value(_ResultMetric):
    """A logged value. Lightning looks through all that it consists of, whenever it is logged, for tensors to move."""

    def to(self, device: torch.device | str, *args: Any, **options: Any) -> "_Value":
        if self.is_tensor and torch.device(device).type == "cpu":
            parts = (self.value, self._computed, self._forward_cache)
            if all(part is None or part.device.type == "cpu" for part in parts):
                return self
        super().to(device, *args, **options)
        return self
