"""When the things that are not done at every step are due, at the same steps on all ranks."""

import time
from typing import Any, TypeVar

T = TypeVar("T")

LEAST_SECONDS, MOST_STEPS = 1.0, 20
"""Between two questions that ranks ask each other; steps may become slower at any time, hence the latter."""


def log_interval(trainer: Any) -> int:
    """Steps from one that is recorded to the next: `trainer.log_every_n_steps`; for 0, never, Lightning's 50."""
    return int(trainer.log_every_n_steps) or 50


def steps_done(trainer: Any) -> int:
    """Batches after which the optimizer stepped: the step under which numbers are recorded.

    `trainer.global_step` is the same number where a task has one optimizer. With several it counts all of their steps.
    """
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def broadcast_from_rank_zero(trainer: Any, due: T) -> T:
    """What rank zero says, by its clock, on every rank; all of them must ask. On a GPU this makes the host wait."""
    answer: T = trainer.strategy.broadcast(due) if trainer.world_size > 1 else due
    return answer


class RankSync:
    """Picks, among steps of one kind, those at which ranks ask each other something: about one a second.

    They are the same ones on all ranks. Asking at every step would keep a GPU from working ahead of its host. A
    process alone may ask at all of them.
    """

    def __init__(self) -> None:
        self._steps = self._next = self._last = 0
        self._asked: float | None = None

    def is_time(self, trainer: Any) -> bool:
        """To be called once a step, on every rank."""
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
