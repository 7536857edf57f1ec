"""Initialise a network with weights from a local file, such as one of timm, torchvision, transformers or a run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.optim.layer_decay import fine_tune

_PREFIXES = ("", "module.", "_orig_mod.", "model.", "net.", "net.net.", "backbone.", "encoder.")
"""Prefixes that libraries add to the names of weights, to be removed or added."""
_INSIDE = ("state_dict", "model_state_dict", "model", "model_ema", "state_dict_ema")
"""Keys under which checkpoints store the weights."""


def load_weights(
    module: nn.Module, *, path: str, freeze: bool = False, layer_decay: float = 1.0, freeze_layers: int = 0
) -> None:
    """Copy weights from a file where names and shapes match, and print which were left out.

    If the file's first layer has three colour channels and the network's has one, its weights are summed over colours.

    Args:
        path: a safetensors file or a file of `torch.save`, from which only tensors are read.
        freeze: train only parameters that are not in the file, such as a last layer for other classes. Batch norms
            still update their running statistics.
        layer_decay, freeze_layers: as in `fine_tune`.

    Raises:
        UserError: the file cannot be read, is of another architecture, or leaves nothing to train.
    """
    found = _read(Path(path).expanduser())
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    matched = max((_matched(found, own, taken, put) for taken in _PREFIXES for put in _PREFIXES), key=len)
    weights = {name for name, value in own.items() if value.ndim >= 2}
    if len(weights & set(matched)) < len(weights) / 2:
        raise UserError(
            f"`init.path={path}` has fitting weights for {len(weights & set(matched))} of the {len(weights)} layers of "
            f"this network, so it is of another architecture. It begins with {', '.join(list(found)[:3])}; the network "
            f"with {', '.join(list(own)[:3])}."
        )
    module.load_state_dict({**own, **matched})
    missing = [name for name in own if name not in matched and not name.endswith("num_batches_tracked")]
    shown = f"; initialised anew: {', '.join(missing[:6])}{', ...' if len(missing) > 6 else ''}" if missing else ""
    warn_once(f"{Path(path).name}: {len(matched):,} of {len(own):,} weights loaded{shown}.")
    fine_tune(module, layer_decay=layer_decay, freeze_layers=freeze_layers)
    if freeze:
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name not in matched)
        if not any(parameter.requires_grad for parameter in module.parameters()):
            raise UserError(f"`init.freeze=true`: {path} has all weights of the network, which leaves none to train.")


def _matched(found: dict[str, Tensor], own: dict[str, Tensor], taken: str, put: str) -> dict[str, Tensor]:
    """Rename the file's weights by replacing prefix `taken` with `put`; return those that fit the network."""
    matched = {}
    for name, value in found.items():
        here = put + name.removeprefix(taken)
        if name.startswith(taken) and here in own and (fitting := _fitting(value, own[here])) is not None:
            matched[here] = fitting
    return matched


def _fitting(value: Tensor, own: Tensor) -> Tensor | None:
    if value.shape == own.shape:
        return value.to(own.dtype)
    colours = value.ndim == own.ndim == 4 and value.shape[1] == 3 and own.shape[1] == 1
    if colours and value.shape[0] == own.shape[0] and value.shape[2:] == own.shape[2:]:
        return value.sum(dim=1, keepdim=True).to(own.dtype)
    return None


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"`init.path={path}`: there is no such file.")
    content: dict[str, Any]
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a truncated, foreign or malicious file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"`init.path={path}` cannot be read as a file of weights: {reason}") from error
    for key in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    found = {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if content else {}
    if not found:
        raise UserError(f"`init.path={path}` holds no weights.")
    return found
