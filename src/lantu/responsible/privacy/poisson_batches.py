"""Poisson sampling: every example is in a batch independently of the others, as the accounting assumes."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lantu.data.samplers import Chosen, TrainingBatches
from lantu.errors import UserError
from lantu.responsible.privacy.secret import Secret


class PoissonBatches(TrainingBatches):
    """Batches in which each example is with the same probability, `batch_size / size`.

    Their sizes differ; `batch_size` is the mean. A batch in which there is no example holds the first one, and
    `is_empty` says so: its gradient must be left out, its noise not.

    Args:
        size, batch_size, seed, epoch, start: as of `TrainingBatches`.
        secret: which the draws come from.
    """

    def __init__(self, size: int, *, batch_size: int, secret: Secret, **options: Any) -> None:
        if options.get("weights") is not None:
            raise UserError("`privacy=dp` draws every example with the same probability: leave out `data.balanced`.")
        if batch_size > size:
            raise UserError(
                f"`data.batch_size={batch_size}` with `privacy=dp` is the mean size of a batch, and there are only "
                f"{size:,} training examples: choose a smaller one."
            )
        options.pop("lengths", None)  # batches of similar length would not be independent draws
        super().__init__(size, batch_size=batch_size, **options)
        self.rate = batch_size / size
        self._secret = secret

    def __len__(self) -> int:
        return max(1, round(self.size / self.batch_size))

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.start, len(self)):
            drawn = self.drawn(self.epoch, number)
            yield Chosen(drawn.tolist() if len(drawn) else [0], seed=self.seed, epoch=self.epoch)

    def drawn(self, epoch: int, number: int) -> np.ndarray:
        """The examples of one batch, in ascending order; possibly none."""
        numbers = self._secret.integers(self.size, b"batch", epoch, number)
        limit = self.rate * 2.0**64
        return np.arange(self.size) if limit >= 2.0**64 else np.flatnonzero(numbers < np.uint64(int(limit)))

    def is_empty(self, epoch: int, number: int) -> bool:
        """Whether no example was drawn for a batch."""
        return not len(self.drawn(epoch, number))

    def weight(self, number: int) -> float:
        return 1.0
