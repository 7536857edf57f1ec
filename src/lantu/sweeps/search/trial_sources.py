"""Sources of a sweep's trials: a grid that is known in advance, or a search that adds trials as results come in."""

from typing import Protocol

from lantu.sweeps.state.request import Point
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder


class Source(Protocol):
    """Provides the trials to run."""

    def planned(self) -> int | None:
        """Return the total number of trials; None if only time or budget limits it."""

    def next(self, running: int) -> list[TrialFolder]:
        """Return trials to start now, already written to disk. An empty list with none running ends the sweep.

        Args:
            running: the number of trials that run now.
        """

    def tell(self, trial: TrialFolder) -> None:
        """Report that a trial has ended; the outcome is in its state."""


class Grid:
    """Run every point once. Finished trials are kept, failed ones are retried."""

    def __init__(self, points: list[Point], folder: SweepFolder, *, retries: int) -> None:
        self._folder = folder
        self._wanted = {point.key: point for point in points}
        self._retries = retries
        self._batches = [self._plan()]

    def planned(self) -> int:
        return len(self._wanted)

    def next(self, running: int) -> list[TrialFolder]:
        """Return all trials at once: the launcher limits how many run at the same time."""
        return self._batches.pop() if self._batches else []

    def tell(self, trial: TrialFolder) -> None:
        """Results do not change a grid."""

    def _plan(self) -> list[TrialFolder]:
        """Write new points to disk; return all trials that have to run."""
        there = {trial.point.key: trial for trial in self._folder.trials()}
        number = max((trial.number for trial in there.values()), default=-1)
        batch = []
        for key, point in self._wanted.items():
            trial = there.get(key)
            if trial is None:
                number += 1
                trial = self._folder.trial(number).plan(point)
            state = trial.state()
            if state.status == "skipped" or (state.status == "failed" and state.attempts <= self._retries):
                state.status = "planned"
                trial.keep(state)
            if state.status == "planned":
                batch.append(trial)
        return batch
