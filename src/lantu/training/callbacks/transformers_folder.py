"""A callback that leaves a folder that the transformers library reads, for fine-tuning here and elsewhere."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.errors import UserError
from lantu.loggers import log_artifact
from lantu.models.sharding import is_sharded


class TransformersFolder(Callback):
    """Writes the best checkpoint's network and the data's tokenizer to `transformers/` in the run's folder.

    Fine-tune it with `model.pretrained=FOLDER data.tokenizer=FOLDER`, or load it with transformers'
    `AutoModel.from_pretrained` and `AutoTokenizer.from_pretrained`. LoRA's weights are merged into the network's own.

    Raises:
        UserError: the network is none of transformers'.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not hasattr(getattr(pl_module.net, "net", None), "save_pretrained"):
            raise UserError(
                "`callbacks=[default,transformers]` writes networks of the transformers library, and "
                f"{type(pl_module.net).__name__} is none: leave `transformers` out."
            )

        if is_sharded(pl_module.net):
            raise UserError(
                "`callbacks=[default,transformers]` writes a whole network, which `trainer=fsdp` leaves on no device: "
                "leave `transformers` out, or use `trainer=ddp`."
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir) / "transformers"
        net: Any = pl_module.net.net
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        weights = _weights(Path(best)) if Path(best).is_file() else net.state_dict()
        _unadapted(net, weights).save_pretrained(folder)
        vocabulary = trainer.datamodule.learned.get("vocabulary", {})
        if "json" in vocabulary:
            _write_tokenizer(vocabulary["json"], folder)
        log_artifact(trainer, folder)


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    from lantu.checkpoints.load import load

    prefix = "net.net."
    state = load(checkpoint)["state_dict"]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _unadapted(net: Any, weights: dict[str, torch.Tensor]) -> Any:
    """A copy of the network with some weights, and without LoRA's layers, which become part of the others."""
    from copy import deepcopy

    copy = deepcopy(net).cpu()
    copy.load_state_dict(weights)
    return copy.merge_and_unload() if hasattr(copy, "merge_and_unload") else copy


def _write_tokenizer(text: str, folder: Path) -> None:
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = tokenizers.Tokenizer.from_str(text)
    roles = {"pad_token": ("<pad>", "[PAD]"), "unk_token": ("<unk>", "[UNK]"), "mask_token": ("<mask>", "[MASK]")}
    named = {role: name for role, names in roles.items() for name in names if tokenizer.token_to_id(name) is not None}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
