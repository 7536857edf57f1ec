"""Parameter groups for weight decay and penalties."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lantu.errors import UserError


def parameter_groups(
    module: nn.Module, weight_decay: float | None = None, *, decay: Literal["matrices", "all"] = "matrices"
) -> list[dict[str, Any]]:
    """Group the trainable parameters for an optimizer by whether weight decay applies.

    By default it applies to matrices and convolutions (two or more dimensions, embeddings included, as in nanoGPT), and
    not to biases and norms, which have no reason to be near zero. Two groups have `use_fallback`: embeddings and the
    last layer, and vectors such as biases. Muon trains those with AdamW; other optimizers ignore the key. Where
    `fine_tune` gave parameters other learning rates, there are more groups, which have their `lr_scale`.

    Args:
        weight_decay: of the groups that decay; None uses the optimizer's own option.
        decay: "matrices", or "all" to apply it to every parameter.
    """
    if decay not in ("matrices", "all"):
        raise UserError(f"`decay={decay}`: weight decay acts on matrices or on all.")
    outer = {id(parameter) for parameter in embeddings_and_head(module)}
    hidden: list[nn.Parameter] = []
    ends: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            kind = vectors if parameter.ndim < 2 else ends if id(parameter) in outer else hidden
            kind.append(parameter)
    decaying: dict[str, Any] = {} if weight_decay is None else {"weight_decay": weight_decay}
    groups: list[dict[str, Any]] = [
        {"params": hidden, **decaying},
        {"params": ends, **decaying, "use_fallback": True},
        {"params": vectors, **({"weight_decay": 0.0} if decay == "matrices" else decaying), "use_fallback": True},
    ]
    return [part for group in groups for part in _by_lr_scale(group)]


def _by_lr_scale(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group for each `lr_scale` of its parameters, the share of the learning rate that `fine_tune` gave them."""
    parts: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        parts.setdefault(getattr(parameter, "lr_scale", 1.0), []).append(parameter)
    return [{**group, "params": parts[scale], **({} if scale == 1 else {"lr_scale": scale})} for scale in sorted(parts)]


def l1_norm(module: nn.Module) -> Tensor:
    """Return the sum of absolute weights of matrices and convolutions (no biases, no norms), with gradient."""
    weights = [weight for weight in module.parameters() if weight.requires_grad and weight.ndim >= 2]
    sums = [weight.abs().sum() for weight in weights]
    # a sharded weight needs the sum over its shards
    whole = [each.full_tensor() if hasattr(each, "full_tensor") else each for each in sums]
    return torch.stack(whole).sum() if weights else torch.zeros(())


def embeddings_and_head(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of embeddings and of the output layer.

    Lantu's networks and most of timm's call the output layer `head`; others have timm's `get_classifier` or
    transformers' `get_output_embeddings`.
    """
    ends: list[nn.Module] = [each for each in module.modules() if isinstance(each, nn.Embedding)]
    for each in module.modules():
        for name in ("get_classifier", "get_output_embeddings"):
            found = getattr(each, name, lambda: None)()
            if isinstance(found, nn.Module):
                ends.append(found)
        for name in ("head", "classifier", "score"):
            found = getattr(each, name, None)
            if isinstance(found, nn.Linear):
                ends.append(found)
    return [parameter for end in ends for parameter in end.parameters()]
