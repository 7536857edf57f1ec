"""Which examples make up a batch, on one rank or on several."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Sampler

from lantu.errors import UserError

BATCHES_SORTED = 50
"""Batches' worth of shuffled examples that are sorted by length at a time."""


class Chosen(list[int]):
    """The examples of one training batch, and what their random choices hang on: nothing but seed, epoch and example.

    A data set draws with `numpy.random.default_rng((seed, epoch))`, a number for each of its examples, and not from
    global random numbers: those depend on the worker that fetches the batch, and on what it has fetched before.
    """

    def __init__(self, examples: list[int], *, seed: int, epoch: int, repeats: list[int] | None = None) -> None:
        super().__init__(examples)
        self.seed = seed
        self.epoch = epoch
        self.repeats = repeats or [0] * len(examples)
        """How often each example came before in this epoch."""


class TrainingBatches(Sampler[list[int]]):
    """One rank's share of every training batch; the order hangs on seed and epoch alone.

    A batch is that of all ranks together, cut evenly: ranks that are more or fewer train on the same batches. The last,
    smaller one is left out where a rank would have but one example of it, of which batch norm cannot take a variance.

    Args:
        size: examples of an epoch.
        batch_size: of all ranks together.
        shuffle: anew in every epoch; otherwise always 0, 1, 2, ...
        weights: of the examples (N,): they are drawn with repetition in proportion to these. None: each once.
        epoch, start: where the first iteration begins: an epoch, and how many of its batches are done already.
        lengths: of each example (size,); those of similar length then share a batch, so that little is padding.
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
    ) -> None:
        self.size = size
        self.weights = weights
        self.batch_size = batch_size
        self.ranks, self.rank = num_replicas, rank
        self.shuffle = shuffle
        self.lengths = lengths
        self.seed = seed
        self.epoch, self.start = epoch, start
        self.generator = torch.Generator()
        """Seeds the worker processes, for data sets that draw from global random numbers all the same."""
        self._seed_workers()
        check_share(batch_size, ranks=num_replicas)
        if size < num_replicas:
            raise UserError(f"there are {size} examples to train on, too few for {num_replicas} devices.")

    @property
    def sampler(self) -> "TrainingBatches":
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch, from its first batch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0
            self._seed_workers()

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever this one begins."""
        whole, rest = divmod(self.size, self.batch_size)
        return whole + (rest >= 2 * self.ranks or (rest > 0 and not whole))

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
        if self.weights is None:
            order = random.permutation(self.size)
            return order if self.lengths is None else self._by_length(order, random)
        # systematic sampling: each example is drawn its share of the times, to within one
        edges = np.cumsum(self.weights) / np.sum(self.weights) * self.size
        drawn = np.searchsorted(edges, np.arange(self.size) + random.random(), side="right")
        return random.permutation(np.minimum(drawn, self.size - 1))

    def _by_length(self, order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sort stretches of a shuffled order by length, then shuffle their whole batches; a smaller last one stays."""
        assert self.lengths is not None
        stretch = BATCHES_SORTED * self.batch_size
        parts = [order[first : first + stretch] for first in range(0, self.size, stretch)]
        ordered = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        whole = self.size // self.batch_size * self.batch_size
        batches = ordered[:whole].reshape(-1, self.batch_size)
        return np.concatenate([batches[rng.permutation(len(batches))].ravel(), ordered[whole:]])

    def weight(self, number: int) -> float:
        """How much this rank's mean over its share of a batch counts in the mean over the ranks' means.

        Other than 1 only in a last batch of which some ranks have an example more than others.
        """
        size = min(self.batch_size, self.size - number * self.batch_size)
        mine = size // self.ranks + (self.rank < size % self.ranks)
        return mine * self.ranks / size

    def _seed_workers(self) -> None:
        self.generator.manual_seed(int(np.random.default_rng((self.seed, self.epoch)).integers(2**63)))


class EvenBatches(Sampler[list[int]]):
    """One rank's share of all examples: over the ranks, each example once, in equally many batches.

    torch's and Lightning's samplers repeat or drop examples until all ranks have the same number, which makes a score
    measured on several devices differ from that measured on one. Ranks must have equally many batches, or one waits for
    another for ever; so a rank with an example less has a smaller batch instead.

    Args:
        size: examples in all. Where there are fewer than ranks, the ranks without one take the last one: not exact.
        batch_size: the most that a batch holds, of all ranks together. Where that is one example a rank, some may hold
            2, for there would be ranks with a batch less.
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


def check_share(batch_size: int, *, ranks: int) -> int:
    """How many examples of a batch each rank takes.

    Raises:
        UserError: they cannot be cut evenly.
    """
    share, rest = divmod(batch_size, ranks)
    if rest or not share:
        near = [each for each in (share * ranks, (share + 1) * ranks) if each]
        raise UserError(
            f"`data.batch_size={batch_size}` is the batch of all {ranks} devices together, and cannot be cut into "
            f"{ranks} equal shares. {' or '.join(f'`data.batch_size={each}`' for each in near)} can."
        )
    return share


def _share(batch: np.ndarray, ranks: int, rank: int) -> np.ndarray:
    return batch if ranks == 1 else np.array_split(batch, ranks)[rank]


def _counted(order: np.ndarray) -> np.ndarray:
    """How often each number came before in an order (N,)."""
    return pd.Series(order).groupby(order).cumcount().to_numpy()
