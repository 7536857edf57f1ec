"""Shard a network over devices with FSDP2, and choose which of its parts are sharded as one unit."""

from collections import Counter
from typing import Any

import torch
from torch import nn


def units(net: nn.Module) -> list[nn.Module]:
    """Return the modules whose weights are gathered together, right before use.

    A network may name their classes: Lantu's in `sharded_as_one`, transformers' in `_no_split_modules`. Otherwise they
    are the members of its outermost `nn.Sequential` or `nn.ModuleList` that contain a matrix. All other weights are
    gathered with the root module, including those of a part that shares a weight with another, such as an embedding
    tied to the last layer.
    """
    parts = next((_named(net, names) for module in net.modules() if (names := _declared(module)) is not None), None)
    if parts is None:
        parts = [each for each in _members(net) if any(weight.ndim > 1 for weight in each.parameters())]
    held = Counter(id(weight) for module in net.modules() for weight in module._parameters.values())
    return [each for each in parts if all(held[id(weight)] == 1 for weight in each.parameters())]


def shard(net: nn.Module, mesh: Any, *, bf16: bool = False) -> None:
    """Shard each weight over a one-dimensional device mesh, in place (FSDP, Zhao et al. 2023).

    If the network is to be compiled, each part is compiled by itself, because the gathering between parts cannot be
    traced.

    Args:
        bf16: gather weights in bfloat16, which halves communication; gradients are still reduced in float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    scales = {name: getattr(weight, "lr_scale", 1.0) for name, weight in net.named_parameters()}
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
    parts = units(net)
    if net._compiled_call_impl is not None and parts:
        net._compiled_call_impl = None
        for part in parts:
            part.compile()
    for part in (*reversed(parts), net):  # inner ones first
        fully_shard(part, mesh=mesh, mp_policy=policy)
    for name, weight in net.named_parameters():  # they are others now
        weight.lr_scale = scales[name]  # type: ignore[attr-defined]


def is_sharded(net: nn.Module) -> bool:
    """Return whether a forward pass needs all devices, because each holds only a shard of the weights."""
    # an attribute of DTensor; importing that class takes a second
    return any(hasattr(weight, "device_mesh") for weight in net.parameters())


def _declared(module: nn.Module) -> Any:
    return getattr(module, "sharded_as_one", getattr(module, "_no_split_modules", None))


def _named(net: nn.Module, names: Any) -> list[nn.Module]:
    return [each for each in net.modules() if type(each).__name__ in names]


def _members(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return list(module)
    return [each for child in module.children() for each in _members(child)]
