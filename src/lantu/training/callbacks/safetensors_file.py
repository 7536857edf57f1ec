"""A callback that leaves the best weights in a file that every framework reads and that can hold no code."""

from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.checkpoints.checkpoint_file import refuse_damaged

NAME = "best.safetensors"


class SafetensorsFile(Callback):
    """Writes the best checkpoint's weights to `checkpoints/best.safetensors` in the run's folder when training ends.

    The names are those of the task's `state_dict`, such as `net.layers.0.weight`. Weights that two layers share are
    written once for each of them: the format knows no sharing.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        from safetensors.torch import save_file

        best = Path(getattr(trainer.checkpoint_callback, "best_model_path", ""))
        weights = _weights(best) if best.is_file() else pl_module.state_dict()
        folder = Path(trainer.default_root_dir) / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{NAME}.part"
        separate = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
        save_file(separate, part, metadata={"format": "pt"})
        part.replace(folder / NAME)


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    refuse_damaged(checkpoint)
    return torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
