"""Digests of data, to detect that they have changed."""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor


def fingerprint_of(*parts: Any) -> str:
    """A digest (32 hexadecimal digits) of texts, bytes, numbers, arrays, tensors, files (`Path`), or lists of them.

    Raises:
        TypeError: something else.
    """
    digest = blake2b(digest_size=16)
    for piece in _pieces(parts):
        digest.update(len(piece).to_bytes(8, "little") + piece)
    return digest.hexdigest()


def _pieces(parts: Iterable[Any]) -> Iterable[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        elif isinstance(part, str | int | float | bool | None):
            yield repr(part).encode()
        elif isinstance(part, Path):
            yield part.read_bytes()
        elif isinstance(part, Tensor | np.ndarray):
            array = part.detach().cpu().numpy() if isinstance(part, Tensor) else part
            yield f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        elif isinstance(part, dict):
            yield from _pieces(part.items())
        elif isinstance(part, list | tuple):
            yield from _pieces(part)
        else:
            raise TypeError(f"cannot make a digest of a {type(part).__name__}")
