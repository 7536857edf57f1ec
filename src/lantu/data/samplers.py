"""Samplers: which examples make up a batch, on one rank or on several."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Sampler

from lantu.data_options import check_share
from lantu.errors import UserError

BATCHES_SORTED = 50
"""Number of batches whose examples are sorted by length together."""
BLOCKS_MIXED = 16
"""Number of blocks of a file whose examples are shuffled together."""


class Chosen(list[int]):
    """The examples of one training batch, with the seed and epoch of their random augmentation.

    A data set draws with `numpy.random.default_rng((seed, epoch))`, one number for each of its examples. Global random
    numbers would depend on the worker that fetches the batch, and on what it has fetched before.
    """

    def __init__(self, examples: list[int], *, seed: int, epoch: int, repeats: list[int] | None = None) -> None:
        super().__init__(examples)
        self.seed = seed
        self.epoch = epoch
        self.repeats = repeats or [0] * len(examples)
        """How often each example has been drawn before in this epoch."""


class TrainingBatches(Sampler[list[int]]):
    """One rank's share of every training batch; the order depends on seed and epoch alone.

    A batch is split evenly over the ranks, so that any number of ranks trains on the same batches. The last, smaller
    batch is left out if a rank would have a single example of it, for which batch norm has no variance.

    Args:
        size: examples of an epoch.
        batch_size: summed over all ranks.
        shuffle: a new order in every epoch; otherwise always 0, 1, 2, ...
        weights: (N,); examples are drawn with replacement in proportion to these. None: each once.
        epoch, start: where the first iteration starts: the epoch, and the number of its batches already done.
        lengths: of each example (size,); examples of similar length share a batch, which saves padding.
        blocks: of each example (size,), the number of the part of a file that has to be read for it. Blocks come in
            random order, and the examples of `BLOCKS_MIXED` blocks at a time, so that few parts are read at a time.
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        weights: np.ndarray | None = None,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        lengths: np.ndarray | None = None,
        blocks: np.ndarray | None = None,
    ) -> None:
        self.size = size
        self.weights = weights
        self.batch_size = batch_size
        self.ranks, self.rank = num_replicas, rank
        self.shuffle = shuffle
        self.lengths = lengths
        self.blocks = blocks
        self.micro_batches = 1
        """How many of these batches are cut from one; the epoch's examples are those of the batches that were cut."""
        self.seed = seed
        self.epoch, self.start = epoch, start
        self.generator = torch.Generator()
        """Seeds the worker processes, for data sets that use global random numbers."""
        self._seed_workers()
        check_share(batch_size, ranks=num_replicas)
        if size < num_replicas:
            raise UserError(f"there are {size} examples to train on, too few for {num_replicas} devices.")

    @property
    def sampler(self) -> "TrainingBatches":
        """The object on which Lightning calls `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Start another epoch, at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0
            self._seed_workers()

    def __len__(self) -> int:
        """Batches of a whole epoch, regardless of `start`."""
        whole, rest = divmod(self.size, self.batch_size * self.micro_batches)
        if not (rest >= 2 * self.ranks or (rest > 0 and not whole)):
            return whole * self.micro_batches
        full, last = divmod(rest, self.batch_size)
        # a batch that was not cut is never too small here; of one that was, each rank needs an example
        return whole * self.micro_batches + full + (last >= self.ranks or (last > 0 and self.micro_batches == 1))

    def __iter__(self) -> Iterator[list[int]]:
        order = self._order()
        repeats = np.zeros_like(order) if self.weights is None else _counted(order)
        for number in range(self.start, len(self)):
            here = slice(number * self.batch_size, (number + 1) * self.batch_size)
            mine = [_share(each[here], self.ranks, self.rank).tolist() for each in (order, repeats)]
            yield Chosen(mine[0], seed=self.seed, epoch=self.epoch, repeats=mine[1])

    def _order(self) -> np.ndarray:
        """The examples (N,) of an epoch."""
        if not self.shuffle:
            return np.arange(self.size)
        random = np.random.default_rng((self.seed, self.epoch))
        if self.blocks is not None and self.weights is None:
            return self._by_block(self.blocks, random)
        if self.weights is None:
            order = random.permutation(self.size)
            return order if self.lengths is None else self._by_length(order, random)
        # systematic sampling: the count of each example differs from its expectation by less than one
        edges = np.cumsum(self.weights) / np.sum(self.weights) * self.size
        drawn = np.searchsorted(edges, np.arange(self.size) + random.random(), side="right")
        return random.permutation(np.minimum(drawn, self.size - 1))

    def _by_length(self, order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sort chunks of a shuffled order by length, then shuffle the batches; a smaller last one stays last."""
        assert self.lengths is not None
        batch_size = self.batch_size * self.micro_batches
        stretch = BATCHES_SORTED * batch_size
        parts = [order[first : first + stretch] for first in range(0, self.size, stretch)]
        ordered = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        whole = self.size // batch_size * batch_size
        batches = ordered[:whole].reshape(-1, batch_size)
        return np.concatenate([batches[rng.permutation(len(batches))].ravel(), ordered[whole:]])

    def _by_block(self, blocks: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Shuffle blocks, then the examples of `BLOCKS_MIXED` blocks at a time."""
        names, of_example = np.unique(blocks, return_inverse=True)
        mixed = random.permutation(len(names))[of_example] // BLOCKS_MIXED
        return np.lexsort((random.random(self.size), mixed))

    def weight(self, number: int) -> float:
        """The weight of this rank's mean over a batch in the mean over the ranks.

        It differs from 1 only in a last batch of which some ranks have one example more.
        """
        size = min(self.batch_size, self.size - number * self.batch_size)
        mine = size // self.ranks + (self.rank < size % self.ranks)
        return mine * self.ranks / size

    def _seed_workers(self) -> None:
        self.generator.manual_seed(int(np.random.default_rng((self.seed, self.epoch)).integers(2**63)))


class EvenBatches(Sampler[list[int]]):
    """One rank's share of all examples: each example is on one rank, and all ranks have equally many batches.

    torch's and Lightning's samplers repeat or drop examples until all ranks have the same number, so that a score on
    several devices differs from that on one. Ranks need equally many batches, or they would deadlock; so a rank with
    one example less has a smaller batch instead.

    Args:
        size: number of examples. With fewer examples than ranks, the ranks without one repeat the last: not exact.
        batch_size: maximum size, summed over all ranks. With one example a rank, some batches may hold 2, since other
            ranks would otherwise have one batch less.
    """

    def __init__(self, size: int, *, batch_size: int, num_replicas: int = 1, rank: int = 0) -> None:
        mine = check_share(batch_size, ranks=num_replicas)
        shares = np.array_split(np.arange(size), num_replicas)
        count = min(-(-len(shares[0]) // mine), max(1, len(shares[-1])))
        share = shares[rank] if len(shares[rank]) else np.arange(size)[-1:]
        self._batches = [part.tolist() for part in np.array_split(share, count)] if size else []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def batch(self, number: int) -> list[int]:
        """The examples of one batch."""
        return list(self._batches[number])

    def __len__(self) -> int:
        return len(self._batches)


def _share(batch: np.ndarray, ranks: int, rank: int) -> np.ndarray:
    return batch if ranks == 1 else np.array_split(batch, ranks)[rank]


def _counted(order: np.ndarray) -> np.ndarray:
    """For each number in an order (N,), how often it occurs before."""
    return pd.Series(order).groupby(order).cumcount().to_numpy()
