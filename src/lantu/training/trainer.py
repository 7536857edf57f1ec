"""Lightning's trainer with the options that Lantu adds."""

from functools import cache
from typing import Any

from lightning_fabric.utilities import registry
from pytorch_lightning import Trainer as LightningTrainer

if hasattr(registry, "entry_points"):
    # every new trainer looks for callbacks of installed packages, which stay the same during a process
    registry.entry_points = cache(registry.entry_points)  # type: ignore[assignment]


class Trainer(LightningTrainer):
    """Lightning's trainer.

    Args:
        memory: GiB on each device that a training step may take, or "auto" for what the device has: before it trains,
            a run then chooses `trainer.accumulate_grad_batches` and `activation_checkpointing` (`lantu.training.memory`
            does; the trainer itself takes no notice of it).
        options: as in Lightning.
    """

    def __init__(self, *, memory: float | str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.memory = memory
