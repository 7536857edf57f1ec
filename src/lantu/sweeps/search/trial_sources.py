"""Where a sweep's trials come from: a grid that is known from the start, or a search that asks as it goes."""

from typing import Protocol

from lantu.sweeps.state.request import Point
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder


class Source(Protocol):
    """Hands out trials, as many as may run at the same time."""

    def planned(self) -> int | None:
        """How many trials there will be in all; None: as many as there is time or money for."""

    def next(self, running: int) -> list[TrialFolder]:
        """Trials to run now, on disk already, beside those that are running; none while nothing runs: it is over."""

    def tell(self, trial: TrialFolder) -> None:
        """A trial has ended; its state says how."""


class Grid:
    """Every point once: those that are finished stay as they are, those that failed are tried again a few times."""

    def __init__(self, points: list[Point], folder: SweepFolder, *, retries: int) -> None:
        self._folder = folder
        self._wanted = {point.key: point for point in points}
        self._retries = retries
        self._batches = [self._plan()]

    def planned(self) -> int:
        return len(self._wanted)

    def next(self, running: int) -> list[TrialFolder]:
        """All of them at once: the launcher knows how many run at the same time."""
        return self._batches.pop() if self._batches else []

    def tell(self, trial: TrialFolder) -> None:
        """Nothing depends on it."""

    def _plan(self) -> list[TrialFolder]:
        """Put new points on disk; all that have to be run."""
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
