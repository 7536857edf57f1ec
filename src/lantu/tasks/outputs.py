"""What a stage's batches leave for figures and tables: moved to the host, joined, and bounded in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

Outputs = dict[str, Any]
"""By name, what is kept of N examples: a tensor (N, ...), an array (N, ...) or a list of N things."""
LIMIT = 2**30
"""Bytes of one stage's outputs that a process keeps at most."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A recording that a run shows, kept as FLAC, which MLflow plays."""

    wave: np.ndarray
    """(samples,) in [-1, 1]."""
    rate: int
    """Samples per second."""


def to_host(outputs: Any) -> Any:
    """The same collection with every tensor detached and on the CPU, at any depth."""
    return apply_to_collection(outputs, Tensor, lambda tensor: tensor.detach().cpu())


def join(batches: Sequence[Outputs]) -> Outputs:
    """Outputs of several batches as those of one.

    Tensors and arrays are concatenated along their first dimension; where the others differ (texts of different
    lengths) they become one list of rows. Lists are chained.
    """
    return {name: _joined([each[name] for each in batches]) for name in batches[0]} if batches else {}


def examples_in(outputs: Outputs) -> int:
    """How many examples outputs are of: the length of the first entry."""
    return len(next(iter(outputs.values()), ()))


def bytes_of(outputs: Any) -> int:
    """The memory that tensors, arrays and texts take, at any depth."""
    if isinstance(outputs, Tensor):
        return outputs.numel() * outputs.element_size()
    if isinstance(outputs, np.ndarray):
        return int(outputs.nbytes)
    if isinstance(outputs, dict):
        return sum(map(bytes_of, outputs.values()))
    if isinstance(outputs, list | tuple):
        return sum(map(bytes_of, outputs))
    return len(outputs) if isinstance(outputs, str | bytes) else 8


class Collector:
    """The outputs of a stage's batches, on the host.

    Args:
        limit: bytes; batches that come after it is reached are counted in `left_out` and not kept.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.left_out = 0
        """Examples that were not kept."""
        self._batches: list[Outputs] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, outputs: Outputs) -> None:
        """Keep a batch, moved to the host."""
        if self._bytes >= self.limit:
            self.left_out += examples_in(outputs)
            return
        kept = to_host(outputs)
        self._bytes += bytes_of(kept)
        self._batches.append(kept)

    def joined(self) -> Outputs:
        """All kept batches as one; {} if there are none. With several ranks, of all of them, and all must call it."""
        batches = self._batches
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, batches)
            batches = [batch for rank in parts for batch in rank]
        return join(batches)

    def clear(self) -> None:
        """Forget everything."""
        self._batches, self._bytes, self.left_out = [], 0, 0


def once_each(outputs: Outputs) -> Outputs:
    """Outputs without the examples that ranks of unequal share measured twice."""
    rows = outputs.get("row")
    if rows is None or len(set(rows)) == len(rows):
        return outputs
    first = sorted(dict(zip(reversed(rows), reversed(range(len(rows))), strict=True)).values())
    return {
        name: values[torch.tensor(first)] if isinstance(values, Tensor) else [values[place] for place in first]
        for name, values in outputs.items()
    }


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        same = len({each.shape[1:] for each in parts}) == 1 and first.ndim > 0
        return torch.cat(parts) if same else [row for each in parts for row in each]
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    if isinstance(first, dict):
        return join(parts)
    return [each for part in parts for each in part]
