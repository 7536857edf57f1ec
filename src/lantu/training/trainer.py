"""Lightning's trainer with the options that Lantu adds."""

from typing import Any

from pytorch_lightning import Trainer as LightningTrainer


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
