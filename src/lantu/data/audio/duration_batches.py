"""Training batches of recordings that hold a budget of seconds instead of a number of examples."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lantu.data.samplers import Chosen, TrainingBatches
from lantu.errors import UserError

RATIO = 1.02
"""How much longer the longest of a class of durations is than the shortest."""


class DurationBatches(TrainingBatches):
    """One rank's share of batches whose padded length stays within a budget; the order hangs on seed and epoch alone.

    Recordings are sorted by duration and cut once into batches, so that every epoch has equally many. In each epoch
    those of nearly the same duration change places, and the batches come in another order. A recording that is longer
    than the budget is a batch of its own.

    Args:
        seconds: of each recording (N,).
        budget: seconds of a batch, of all ranks together: its longest recording times their number.
        options: of `TrainingBatches`.
    """

    def __init__(self, seconds: np.ndarray, *, budget: float, **options: Any) -> None:
        super().__init__(len(seconds), **{**options, "batch_size": max(1, options.get("num_replicas", 1))})
        # the upper end of each class of durations, so that recordings of a class can change places
        self._class = np.ceil(np.log(np.maximum(seconds, 1e-3)) / np.log(RATIO))
        self._sorted = np.argsort(self._class, kind="stable")
        longest = RATIO ** self._class[self._sorted]
        self._ends: list[int] = []
        first = 0
        for place in range(1, len(seconds) + 1):
            if place == len(seconds) or longest[place] * (place + 1 - first) > budget:
                self._ends.append(place)
                first = place
        if min(np.diff([0, *self._ends])) < self.ranks:
            raise UserError(
                f"`data.batch_seconds={budget:g}` is the batch of all {self.ranks} devices together, and some batches "
                f"would hold fewer than {self.ranks} recordings: the longest has {seconds.max():.1f} s."
            )

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches()
        for number in range(self.start, len(batches)):
            mine = np.array_split(batches[number], self.ranks)[self.rank]
            yield Chosen(mine.tolist(), seed=self.seed, epoch=self.epoch)

    def weight(self, number: int) -> float:
        batch = self._batches()[number]
        return len(np.array_split(batch, self.ranks)[self.rank]) * self.ranks / len(batch)

    def _batches(self) -> list[np.ndarray]:
        """The batches of an epoch."""
        order = self._sorted
        random = np.random.default_rng((self.seed, self.epoch))
        if self.shuffle:
            order = np.lexsort((random.random(self.size), self._class))
        parts = np.split(order, self._ends[:-1])
        return [parts[number] for number in random.permutation(len(parts))] if self.shuffle else parts
