"""Encoders of pictures and texts into one space, from transformers: CLIP and SigLIP."""

from collections.abc import Mapping
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.transformer import form_of

LARGEST_SCALE = 100.0
"""The temperature's inverse is not let above this (Radford et al. 2021)."""


class ImageTextModel(nn.Module):
    """CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023) or another model of transformers with two such encoders.

    Args:
        vocab_size, max_length, pad_id, end_id: of the texts; CLIP reads a text's vector at its end token.
        channels, size: of the pictures.
        pretrained: a folder or a name on the Hugging Face hub, with `data.tokenizer`, `data.size`, `data.mean` and
            `data.std` of the same; None: new weights.
        config: of new weights: `model_type` (clip, siglip), `text_config`, `vision_config` and further options of
            transformers.

    Shape: {"image": (N, channels, size, size), "text": (N, L) int64}, or one of them -> {"image": (N, D), "text": (N,
    D)} of length 1, "scale" and "bias", scalars by which similarities become logits.

    Raises:
        UserError: no such type, or the weights do not fit the data, or CLIP would not find the end of a text.
    """

    net: Any

    def __init__(
        self,
        vocab_size: int,
        *,
        max_length: int,
        pad_id: int,
        end_id: int,
        channels: int,
        size: int,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        import transformers

        if pretrained is not None:
            self.net = transformers.AutoModel.from_pretrained(pretrained).train()
            _check_fits(self.net.config, pretrained, vocab_size=vocab_size, max_length=max_length, size=size)
        else:
            self.net = _new(config, vocab_size=vocab_size, max_length=max_length, pad_id=pad_id, end_id=end_id,
                            channels=channels, size=size)  # fmt: skip
        if not hasattr(self.net, "get_image_features") or not hasattr(self.net, "logit_scale"):
            raise UserError(
                f"`model.config.model_type={self.net.config.model_type}` has no encoders of pictures and texts."
            )
        _check_end(self.net, end_id, vocab_size=vocab_size)
        self.pairwise = hasattr(self.net, "logit_bias")

    @property
    def objective(self) -> str:
        """ "sigmoid" for models with a bias, which judge every pair by itself (SigLIP); else "softmax" (CLIP)."""
        return "sigmoid" if self.pairwise else "softmax"

    @property
    def form(self) -> dict[str, Any]:
        """The `config` that rebuilds this architecture without the pretrained weights."""
        return form_of(self.net)

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scale = self.net.logit_scale.exp().clamp(max=LARGEST_SCALE).reshape(())
        bias = self.net.logit_bias.reshape(()) if self.pairwise else torch.zeros_like(scale)
        found = {"scale": scale, "bias": bias}
        if "image" in x:
            found["image"] = F.normalize(_pooled(self.net.get_image_features(pixel_values=x["image"])), dim=-1)
        if "text" in x:
            # padding needs no mask: CLIP's tokens see those before them, SigLIP was trained with it
            found["text"] = F.normalize(_pooled(self.net.get_text_features(input_ids=x["text"])), dim=-1)
        return found


def _new(
    config: Mapping[str, Any] | None,
    *,
    vocab_size: int,
    max_length: int,
    pad_id: int,
    end_id: int,
    channels: int,
    size: int,
) -> Any:
    import transformers

    options = dict(config or {})
    kind = str(options.pop("model_type", "clip"))
    text = {
        "vocab_size": vocab_size, "max_position_embeddings": max_length, "pad_token_id": pad_id,
        "bos_token_id": None, "eos_token_id": end_id,
    }  # fmt: skip
    vision = {"image_size": size, "num_channels": channels}
    options["text_config"] = {**text, **options.get("text_config", {})}
    options["vision_config"] = {**vision, **options.get("vision_config", {})}
    patch = options["vision_config"].get("patch_size", 1)
    if size % patch:
        raise UserError(f"`data.size={size}` is no multiple of `model.config.vision_config.patch_size={patch}`.")
    try:
        net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **options))
    except (ValueError, TypeError) as error:
        raise UserError(f"`model.config.model_type={kind}` makes no model: {str(error).splitlines()[0]}") from error
    if hasattr(net, "logit_bias"):  # at first nearly every pair is a wrong one (Zhai et al. 2023)
        nn.init.constant_(net.logit_scale, log(10))
        nn.init.constant_(net.logit_bias, -10.0)
    return net


def _check_end(net: Any, end_id: int, *, vocab_size: int) -> None:
    """Refuse texts whose end CLIP does not find: it would read their vectors at some other token.

    transformers' CLIP with `eos_token_id=2` looks for the token with the largest number, as the first published weights
    need it.
    """
    looked_for = next((part.eos_token_id for part in net.modules() if hasattr(part, "eos_token_id")), None)
    if looked_for is None:  # SigLIP reads the last place
        return
    if end_id != (vocab_size - 1 if looked_for == 2 else looked_for):
        at = "the token with the largest number" if looked_for == 2 else f"token {looked_for}"
        raise UserError(
            f"the texts end with token {end_id}, and this CLIP reads them at {at}. Use the tokenizer of that model, "
            "`data.tokenizer=FOLDER`, or `model=siglip`."
        )


def _pooled(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found.pooler_output


def _check_fits(config: Any, pretrained: str, *, vocab_size: int, max_length: int, size: int) -> None:
    text, vision = config.text_config, config.vision_config
    if text.vocab_size < vocab_size:
        raise UserError(
            f"`model.pretrained={pretrained}` knows {text.vocab_size} tokens and the data have {vocab_size}: tokenise "
            f"them with its own tokenizer, `data.tokenizer={pretrained}`."
        )
    if text.max_position_embeddings < max_length:
        raise UserError(f"`model.pretrained={pretrained}`: add `data.max_length={text.max_position_embeddings}`.")
    if vision.image_size != size:
        raise UserError(f"`model.pretrained={pretrained}`: add `data.size={vision.image_size}`.")
