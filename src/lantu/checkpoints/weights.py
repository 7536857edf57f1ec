"""Refuse weights with which a network cannot answer: infinite or none, or of another type than the network's."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lantu.errors import UserError


def check_types(given: Mapping[str, Any], module: nn.Module) -> None:
    """Refuse integers where a module has real numbers, and the like: torch would convert them silently.

    Raises:
        UserError: naming the first such weight.
    """
    expected = module.state_dict()
    for name, value in given.items():
        own = expected.get(name)
        if not (isinstance(value, Tensor) and isinstance(own, Tensor)):
            continue
        if _kind(value) != _kind(own):
            raise UserError(
                f"the weights `{name}` are of {value.dtype} and the network's are of {own.dtype}, so they are not its "
                "own."
            )


def check_finite(module: nn.Module) -> None:
    """Refuse weights that are infinite or no numbers, with which every answer would be meaningless.

    Raises:
        UserError: naming the first such weight.
    """
    for name, value in module.named_parameters():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(
                f"the weights `{name}` hold values that are infinite or no numbers (NaN): the training diverged, or "
                "the file was changed. `checkpoints/best.ckpt` of the run may hold finite ones."
            )


def _kind(value: Tensor) -> tuple[bool, bool, bool]:
    return value.is_floating_point(), value.is_complex(), value.is_quantized
