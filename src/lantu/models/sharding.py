"""Which parts of a network are split over devices as one, and the splitting itself (FSDP2)."""

from collections import Counter
from typing import Any

import torch
from torch import nn


def units(net: nn.Module) -> list[nn.Module]:
    """The parts whose weights are gathered together, right before they are used.

    A network of ours says which classes they are in `sharded_as_one`, a network of transformers in its own
    `_no_split_modules`. Of any other one they are the members of its outermost sequences (`nn.Sequential`,
    `nn.ModuleList`) that hold a matrix. What is in none of them is gathered with the network as a whole; so is a part
    that shares a weight with another one, such as an embedding with the last layer.
    """
    parts = next((_named(net, names) for module in net.modules() if (names := _declared(module)) is not None), None)
    if parts is None:
        parts = [each for each in _members(net) if any(weight.ndim > 1 for weight in each.parameters())]
    held = Counter(id(weight) for module in net.modules() for weight in module._parameters.values())
    return [each for each in parts if all(held[id(weight)] == 1 for weight in each.parameters())]


def shard(net: nn.Module, mesh: Any, *, bf16: bool = False) -> None:
    """Leave every device of a one-dimensional mesh with its share of each weight, in place (Zhao et al. 2023, FSDP).

    Of a network that is to be compiled, each part is, by itself: gathering weights in between cannot be translated.

    Args:
        bf16: gather weights as bfloat16, which sends half as much; gradients are still summed in float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
    parts = units(net)
    if net._compiled_call_impl is not None and parts:
        net._compiled_call_impl = None
        for part in parts:
            part.compile()
    for part in (*reversed(parts), net):  # inner ones first
        fully_shard(part, mesh=mesh, mp_policy=policy)


def is_sharded(net: nn.Module) -> bool:
    """Whether a pass through the network needs all devices at once: each holds a share of the weights only."""
    # as a DTensor has it; importing that class takes a second that other runs need not wait
    return any(hasattr(weight, "device_mesh") for weight in net.parameters())


def _declared(module: nn.Module) -> Any:
    return getattr(module, "sharded_as_one", getattr(module, "_no_split_modules", None))


def _named(net: nn.Module, names: Any) -> list[nn.Module]:
    return [each for each in net.modules() if type(each).__name__ in names]


def _members(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return list(module)
    return [each for child in module.children() for each in _members(child)]
