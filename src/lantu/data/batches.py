"""Examples in memory or memory-mapped, fetched a whole batch at a time."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lantu.data.samplers import Chosen, EvenBatches, TrainingBatches


class Examples(Dataset):
    """Inputs with their targets.

    Args:
        x: inputs (M, ...), a tensor or a (memory-mapped) array.
        y: targets (N, ...); None for inputs to predict for, and then batches are inputs alone.
        rows: indices into the M inputs, one for each of the N examples; None: all, in order.
        finish: transforms a batch of raw inputs into the network's input.
    """

    def __init__(
        self,
        x: Tensor | np.ndarray,
        y: Tensor | None = None,
        *,
        rows: np.ndarray | None = None,
        finish: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.x = x
        self.y = y
        self.rows = np.arange(len(x)) if rows is None else rows
        self.finish = finish
        self.source: Any = None
        """Of a table to predict for, the rows as they were read."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Tensor | tuple[Tensor, Tensor]:
        chosen = np.array(indices, dtype=np.int64)  # once: each index with a list converts its numbers one by one
        rows = self.rows[chosen]
        x = self.x[torch.from_numpy(rows)] if isinstance(self.x, Tensor) else torch.from_numpy(self.x[rows])
        if self.finish is not None:
            x = self.finish(x)
        return x if self.y is None else (x, self.y[torch.from_numpy(chosen)])

    def __getitem__(self, index: int) -> Any:
        batch = self.__getitems__([index])
        return batch[0] if isinstance(batch, Tensor) else tuple(part[0] for part in batch)


class Windows(Dataset):
    """Windows of a long text: `context` tokens, and as targets the same shifted by one.

    Args:
        tokens: (M,), possibly memory-mapped.
        context: T, the length of a window.
        shifting: in training, shift each window by a random number of tokens, so that over the epochs windows start at
            every token; otherwise windows are contiguous and every token is predicted once.
    """

    def __init__(self, tokens: np.ndarray, context: int, *, shifting: bool = False) -> None:
        self.tokens = tokens
        self.context = context
        self.shifting = shifting
        self._drawn: tuple[tuple[int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.context

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        starts = np.asarray(indices) * self.context
        if self.shifting and isinstance(indices, Chosen):
            starts = starts + self._shifts(indices.seed, indices.epoch)[indices]
            starts = np.minimum(starts, len(self.tokens) - self.context - 1)
        stretch = self.tokens[starts[:, None] + np.arange(self.context + 1)]
        tokens = torch.from_numpy(stretch.astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]

    def _shifts(self, seed: int, epoch: int) -> np.ndarray:
        """The shift of each window (N,) in an epoch; drawn once and kept for all its batches."""
        if self._drawn is None or self._drawn[0] != (seed, epoch):
            kind = np.uint16 if self.context <= 2**16 else np.uint32
            shifts = np.random.default_rng((seed, epoch)).integers(self.context, size=len(self), dtype=kind)
            self._drawn = ((seed, epoch), shifts)
        return self._drawn[1]


def loader(
    dataset: Dataset,
    *,
    batch_size: int,
    workers: int,
    batches: TrainingBatches | EvenBatches | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader:
    """A loader of a data set; one with `__getitems__` fetches whole batches.

    Args:
        collate: makes a batch of the single examples of a data set without `__getitems__`; None: they stay a list.
        batch_size: consecutive examples of a batch, used if `batches` is None.
    """
    return DataLoader(
        dataset,
        num_workers=workers,
        collate_fn=as_it_is if hasattr(dataset, "__getitems__") or collate is None else collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        # a separate generator: otherwise each pass over the data would advance the global one, which dropout uses
        generator=batches.generator if isinstance(batches, TrainingBatches) else torch.Generator().manual_seed(0),
        **({"batch_size": batch_size} if batches is None else {"batch_sampler": batches}),
    )


def as_it_is(batch: Any) -> Any:
    """Return a batch unchanged: the data set has already made it."""
    return batch


def workers_for(values_per_example: int) -> int:
    """The default number of worker processes: none for small examples, else some of the cores."""
    if values_per_example < 64 * 64 * 3:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))
