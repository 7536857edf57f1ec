"""An exponential moving average of the weights whose checkpoints measure the same wherever they are loaded."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging


class EMA(EMAWeightAveraging):
    """Lightning's, except that a checkpoint loaded for a test keeps its averaged weights.

    A checkpoint holds the average as its `state_dict`, and the weights of the last step beside it, to train on from.
    Lightning's own callback goes back to the latter whenever a checkpoint is loaded after a fit, so that a run's own
    test measures other weights than `lantu evaluate` does.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
