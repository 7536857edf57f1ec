"""Load GPT-2's published weights into Lantu's GPT."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lantu.errors import UserError
from lantu.models.gpt import GPT

NAMES = {
    "wte.weight": "embedding.weight",
    "wpe.weight": "places.weight",
    "ln_f": "norm",
    "h.": "blocks.",
    ".ln_1.": ".attention_norm.",
    ".ln_2.": ".mlp_norm.",
    ".attn.c_attn.": ".attention.qkv.",
    ".attn.c_proj.": ".attention.out.",
    ".mlp.c_fc.": ".mlp.up.",
    ".mlp.c_proj.": ".mlp.out.",
}
"""Parts of a weight's name: published, and in `GPT`."""


def gpt2(
    folder: str,
    *,
    vocab_size: int | None = None,
    context: int | None = None,
    dropout: float = 0.0,
    boundary_id: int | None = None,
) -> GPT:
    """Build a GPT with the weights from a folder: `config.json` and `model.safetensors` or `pytorch_model.bin`.

    Args:
        vocab_size: of the data; must equal that of the weights. None: not checked.
        context: maximum context length, if shorter than the weights' position embedding (1,024).
        dropout: for fine-tuning.
        boundary_id: as in `GPT`.

    Raises:
        UserError: the folder has no GPT-2, or it does not fit the data.
    """
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise UserError(f"`model.folder={folder}`: no GPT-2 there; the folder holds `config.json` and the weights.")
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type", "gpt2") != "gpt2":
        raise UserError(f"`model.folder={folder}` holds a {config['model_type']}, not a GPT-2.")
    if vocab_size not in (None, config["vocab_size"]):
        raise UserError(
            f"The data have {vocab_size} different tokens and the GPT-2 in `model.folder={folder}` knows "
            f"{config['vocab_size']}: tokenise the data with the tokenizer that belongs to the weights."
        )
    return from_gpt2(_weights(path), config, context=context, dropout=dropout, boundary_id=boundary_id)


def from_gpt2(
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    context: int | None = None,
    dropout: float = 0.0,
    boundary_id: int | None = None,
) -> GPT:
    """Build a GPT from weights by their published names and a config with n_embd, n_layer, n_head, ..."""
    places = int(config["n_positions"])
    if context is not None and context > places:
        raise UserError(
            f"`data.context={context}`: this GPT-2 has {places} positions; use `data.context={places}` or less."
        )
    net = GPT(
        config["vocab_size"],
        context or places,
        width=config["n_embd"],
        layers=config["n_layer"],
        heads=config["n_head"],
        hidden=config.get("n_inner"),
        positions="learned",
        norm="layer",
        mlp="gelu",
        bias=True,
        dropout=dropout,
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        boundary_id=boundary_id,
    )
    ours = {}
    for name, weight in weights.items():
        if name.endswith(("lm_head.weight", ".attn.bias", ".attn.masked_bias")):
            continue  # the tied embedding, and the causal mask
        transposed = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))  # stored as (inputs, outputs)
        ours[_renamed(name.removeprefix("transformer."))] = weight.T if transposed else weight
    ours["places.weight"] = ours["places.weight"][: net.context]
    ours["head.weight"] = ours["embedding.weight"]
    net.load_state_dict(ours)
    return net


def _weights(path: Path) -> dict[str, Tensor]:
    if (path / "model.safetensors").is_file():
        from safetensors.torch import load_file

        return load_file(path / "model.safetensors")
    if (path / "pytorch_model.bin").is_file():
        return torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True)
    raise UserError(f"`model.folder={path}` holds neither `model.safetensors` nor `pytorch_model.bin`.")


def _renamed(name: str) -> str:
    for theirs, our in NAMES.items():
        name = name.replace(theirs, our)
    return name
