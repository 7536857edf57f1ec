"""Intervals for work that is not done at every step, at the same steps on all ranks."""

import time
from typing import Any, TypeVar

T = TypeVar("T")

LEAST_SECONDS, MOST_STEPS = 1.0, 20
"""Minimum time and maximum number of steps between two syncs; the latter because steps may become slower."""


def log_interval(trainer: Any) -> int:
    """Return the steps between two logged ones: `trainer.log_every_n_steps`, or Lightning's default 50 if that is 0."""
    return int(trainer.log_every_n_steps) or 50


def steps_done(trainer: Any) -> int:
    """Return the number of batches after which the optimizer stepped: the step under which metrics are logged.

    With one optimizer it equals `trainer.global_step`. With several, `trainer.global_step` counts the steps of each.
    """
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def broadcast_from_rank_zero(trainer: Any, due: T) -> T:
    """Return rank zero's value on every rank. All ranks must call it; on a GPU it synchronises with the device."""
    answer: T = trainer.strategy.broadcast(due) if trainer.world_size > 1 else due
    return answer


class RankSync:
    """Chooses the steps at which ranks synchronise, about one each second and the same on all ranks.

    Synchronising at every step would prevent the host from queueing work ahead of the GPU. A single process returns
    True at every step.
    """

    def __init__(self) -> None:
        self._steps = self._next = self._last = 0
        self._asked: float | None = None

    def is_time(self, trainer: Any) -> bool:
        """Return whether to synchronise now. Call it once a step, on every rank."""
        if trainer.world_size == 1:
            return True
        self._steps += 1
        if self._steps < self._next:
            return False
        now, pause = time.monotonic(), 1
        if self._asked is not None and now > self._asked:
            pause = int(LEAST_SECONDS * (self._steps - self._last) / (now - self._asked))
        self._next = self._steps + broadcast_from_rank_zero(trainer, min(max(1, pause), MOST_STEPS))
        self._last, self._asked = self._steps, now
        return True
