"""Which rank of a run on several devices takes which examples."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import BatchSampler, Dataset, DistributedSampler, Sampler


class EvenBatches(Sampler[list[int]]):
    """One rank's share of all examples: over the ranks, each example once, in equally many batches.

    torch's and Lightning's samplers repeat or drop examples until all ranks have the same number, which makes a score
    measured on several devices differ from that measured on one. Ranks must have equally many batches, or one waits for
    another for ever; so a rank with an example less has a smaller batch instead.

    Args:
        size: examples in all. Where there are fewer than ranks, the ranks without one take the last one: not exact.
        batch_size: the most that a batch holds; at 1 some may hold 2, for there would be ranks with a batch less.
    """

    def __init__(self, size: int, *, batch_size: int, num_replicas: int, rank: int) -> None:
        shares = np.array_split(np.arange(size), num_replicas)
        count = min(-(-len(shares[0]) // batch_size), max(1, len(shares[-1])))
        share = shares[rank] if len(shares[rank]) else np.arange(size)[-1:]
        self._batches = [part.tolist() for part in np.array_split(share, count)] if size else []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def rank_batches(
    dataset: Dataset,
    *,
    batch_size: int,
    num_replicas: int,
    rank: int,
    training: bool,
    shuffle: bool = True,
    seed: int = 0,
) -> Sampler[list[int]]:
    """The batches of one rank: for training shuffled anew in every epoch and equally large, else `EvenBatches`."""
    size = len(dataset)  # type: ignore[arg-type]
    if not training:
        return EvenBatches(size, batch_size=batch_size, num_replicas=num_replicas, rank=rank)
    mine: DistributedSampler = DistributedSampler(dataset, num_replicas, rank, shuffle=shuffle, seed=seed)
    # batch norm cannot take the variance of one example
    return BatchSampler(mine, batch_size, drop_last=len(mine) > batch_size and len(mine) % batch_size == 1)
