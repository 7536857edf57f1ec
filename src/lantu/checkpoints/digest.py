"""A digest of a network's weights, which ties a measurement to what was measured."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lantu.checkpoints.load import load

KEY = "weights"
"""The field of a JSON file, the attribute of stored predictions and the metadata of an MLflow model with the digest."""


def weights_digest(state: Mapping[str, Any]) -> str | None:
    """SHA-256 of names, types, shapes and values of a state dict, 16 hexadecimal digits.

    The same for a checkpoint, for the MLflow model that was made of it, and for the module that holds its weights.
    None for weights that are divided among processes, whose values one process does not have.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if not isinstance(value, Tensor):
            continue
        if type(value) is not Tensor and not isinstance(value, torch.nn.Parameter):
            return None  # a DTensor
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def digest_of(checkpoint: Path) -> str | None:
    """The digest of a checkpoint's weights; None where the file cannot be read as one."""
    status = checkpoint.stat()
    return _digest_of(checkpoint, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _digest_of(checkpoint: Path, changed: int, size: int) -> str | None:
    from lantu.errors import UserError

    try:
        return weights_digest(load(checkpoint)["state_dict"])
    except (UserError, KeyError):
        return None
