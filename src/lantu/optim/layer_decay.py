"""Fine-tuning by depth: smaller learning rates for the layers next to the input, or none at all."""

import re
from collections import defaultdict

from torch import nn

from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.optim.parameter_groups import embeddings_and_head

_HEADS = ("classifier", "fc", "head", "heads")
"""What the part after the layers is called in networks that have several layers there."""
_ONE_CHAIN, _SECOND_CHAIN = 0.5, 0.25
"""The share of the weights that the chain of layers must hold at least, and that a chain beside it may not reach."""


def fine_tune(module: nn.Module, *, layer_decay: float = 1.0, freeze_layers: int = 0) -> None:
    """Train the layers next to the input more slowly, or not at all.

    The learning rate of a layer is that of the optimizer times `layer_decay` for each layer between it and the output
    (ELECTRA, Clark et al. 2020; BEiT, Bao et al. 2022); the last layer has all of it.

    Args:
        layer_decay: above 0 and at most 1, such as 0.75; 1: all layers learn alike.
        freeze_layers: as many layers, from the input, are not trained; embeddings and the stem count as the first one.
            Batch norms of a frozen layer still update their running statistics.

    Raises:
        UserError: the network's depth cannot be told, or nothing is left to train.
    """
    if not 0 < layer_decay <= 1:
        raise UserError(f"`init.layer_decay={layer_decay}` multiplies learning rates: above 0 and at most 1.")
    if freeze_layers < 0:
        raise UserError(f"`init.freeze_layers={freeze_layers}` is a number of layers, 0 or more.")
    if layer_decay == 1 and not freeze_layers:
        return
    numbers = layer_numbers(module)
    last = max(numbers.values())
    if freeze_layers > last:
        raise UserError(f"`init.freeze_layers={freeze_layers}`: of {last + 1} layers the last one must learn.")
    for name, parameter in module.named_parameters():
        # read by `parameter_groups`
        parameter.lr_scale = layer_decay ** (last - numbers[name])  # type: ignore[attr-defined]
        if numbers[name] < freeze_layers:
            parameter.requires_grad_(False)
    parts = [f"{freeze_layers} of {last + 1} layers are not trained"] if freeze_layers else []
    if layer_decay < 1:
        least = layer_decay ** (last - freeze_layers)
        parts.append(f"learning rates from {least:.2g} of `optimizer.lr` next to the input to all of it at the output")
    warn_once(f"fine-tuning by depth: {'; '.join(parts)}.")


def layer_numbers(module: nn.Module) -> dict[str, int]:
    """The layer of each parameter by name, 0 next to the input.

    For networks of timm these are timm's. Otherwise a layer is a member with a matrix of the longest chain: an
    `nn.Sequential` or `nn.ModuleList`, or children called layer1, layer2, ...; members that are chains themselves are
    taken apart. What is registered before the chain is layer 0, and what comes after it is the last layer.

    Raises:
        UserError: no chain holds half of the weights, or two chains stand side by side.
    """
    for prefix, part in module.named_modules():
        if hasattr(part, "group_matcher"):
            from timm.models import group_parameters

            found = group_parameters(part, part.group_matcher(coarse=False), reverse=True)
            numbers = {f"{prefix}.{name}".lstrip("."): int(number) for name, number in found.items()}
            last = max(numbers.values())
            return {name: numbers.get(name, last) for name, _ in module.named_parameters()}
    names = [name for name, _ in module.named_parameters()]
    chain = _chain(module)
    place = {member: number for number, member in enumerate(chain)}
    holder = [next((place[part] for part in _ancestors(name) if part in place), None) for name in names]
    inside = [position for position, number in enumerate(holder) if number is not None]
    begin = inside[0] if inside else 0
    found_before = any(number is None for number in holder[:begin])
    sizes = dict(module.named_parameters())
    with_layer = [(name, number) for name, number in zip(names, holder, strict=True) if number is not None]
    matrices = {number for name, number in with_layer if sizes[name].ndim > 1}
    layer_of = {number: int(found_before) + sum(each <= number for each in matrices) - 1 for number in place.values()}
    last = max(layer_of.values()) + 1
    return {
        name: (0 if position < begin else last) if number is None else max(0, layer_of[number])
        for position, (name, number) in enumerate(zip(names, holder, strict=True))
    }


def _chain(module: nn.Module) -> list[str]:
    """The names of the modules that follow each other from input to output."""
    outer = {id(parameter) for parameter in embeddings_and_head(module)}
    weight = {name: each.numel() for name, each in module.named_parameters() if id(each) not in outer and each.ndim > 1}
    total = sum(weight.values())

    def share(members: list[str]) -> float:
        return sum(size for name, size in weight.items() if set(_ancestors(name)) & set(members)) / max(1, total)

    chains = sorted(_chains(module), key=lambda members: (-share(members), members[0].count(".")))
    if not chains or share(chains[0]) < _ONE_CHAIN:
        raise UserError(
            "`init.layer_decay` and `init.freeze_layers` need a network whose layers follow each other, and the depth "
            f"of {type(module).__name__} cannot be told: no chain of layers holds half of its weights."
        )
    for other in chains[1:]:
        nested = any(_is_in(one, two) or _is_in(two, one) for one in chains[0] for two in other)
        is_head = other[0].partition(".")[0] in _HEADS
        if not nested and not is_head and share(other) >= _SECOND_CHAIN:
            raise UserError(
                "`init.layer_decay` and `init.freeze_layers` need one chain of layers, and "
                f"{type(module).__name__} has two side by side, which begin with {chains[0][0]} and {other[0]}."
            )
    return [each for member in chains[0] for each in _taken_apart(module, member)]


def _chains(module: nn.Module) -> list[list[str]]:
    """Candidates: the members of each container, and siblings whose names differ in their number alone."""
    found = []
    for prefix, part in module.named_modules():
        full = {name: f"{prefix}.{name}".lstrip(".") for name, _ in part.named_children()}
        if isinstance(part, nn.Sequential | nn.ModuleList):
            found.append(list(full.values()))
            continue
        alike = defaultdict(list)
        for name, child in part.named_children():
            if (numbered := re.fullmatch(r"([A-Za-z_]+)\d+", name)) and any(True for _ in child.children()):
                alike[numbered[1]].append(full[name])
        found += alike.values()
    return [members for members in found if len(members) > 1]


def _taken_apart(module: nn.Module, member: str) -> list[str]:
    part = module.get_submodule(member)
    if not isinstance(part, nn.Sequential | nn.ModuleList) or len(part) < 2:
        return [member]
    return [each for name, _ in part.named_children() for each in _taken_apart(module, f"{member}.{name}")]


def _ancestors(name: str) -> list[str]:
    """The modules that hold a parameter, by name."""
    parts = name.split(".")[:-1]
    return [".".join(parts[: length + 1]) for length in range(len(parts))]


def _is_in(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}.")
