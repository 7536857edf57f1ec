"""The status of a sweep, read from disk: counts, best trial so far, time left."""

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from lantu.sweeps.state.objective import objective_value
from lantu.sweeps.state.sweep_folder import ENDED, State, SweepFolder, TrialFolder


@dataclass(frozen=True)
class Best:
    """The finished trial with the best value of the first objective."""

    number: int
    name: str
    metric: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}  {self.metric} {self.value:.4g}"


@dataclass(frozen=True)
class SweepStatus:
    """The status of a sweep at one moment."""

    counts: Counter[str]
    """Number of trials by status."""
    best: Best | None
    """The best finished trial."""
    seconds: list[float]
    """Duration of each finished or pruned trial."""

    @property
    def ended(self) -> int:
        return sum(self.counts[status] for status in ENDED)

    def seconds_left(self, planned: int | None) -> float | None:
        """Estimate the remaining time from the mean duration of trials and the number running now."""
        if planned is None or not self.seconds:
            return None
        left = max(0, planned - self.ended)
        parallel = max(1, self.counts["running"])
        return left * statistics.fmean(self.seconds) / parallel


class Watcher:
    """Read a sweep's status repeatedly; the state of an ended trial is read only once."""

    def __init__(self, sweep: SweepFolder) -> None:
        self._sweep = sweep
        self._ended: dict[int, State] = {}
        self._names: dict[int, str] = {}

    def look(self) -> SweepStatus:
        """Return the current status."""
        counts: Counter[str] = Counter()
        seconds: list[float] = []
        content = self._sweep.content()
        objective, sign = content["objectives"][0], 1.0 if content["directions"][0] == "minimize" else -1.0
        best: tuple[int, float] | None = None
        for trial in self._sweep.trials():
            state = self._state(trial)
            counts[state.status] += 1
            if state.status in ("finished", "pruned"):
                seconds.append(state.ended - state.started)
            value = objective_value(state.values, objective)
            if state.status != "finished" or value is None or math.isnan(value):
                continue
            if best is None or sign * value < sign * best[1]:
                best = trial.number, value
        named = best and Best(best[0], self._name(best[0]), objective.removesuffix("_best"), best[1])
        return SweepStatus(counts, named, seconds)

    def newly_ended(self, seen: set[int]) -> list[tuple[TrialFolder, State]]:
        """Return ended trials that are not in `seen`, and add them to it."""
        found = []
        for number, state in sorted(self._ended.items()):
            if number not in seen:
                seen.add(number)
                found.append((self._sweep.trial(number), state))
        return found

    def _state(self, trial: TrialFolder) -> State:
        if trial.number in self._ended:
            return self._ended[trial.number]
        state = trial.state()
        if state.status in ENDED:
            self._ended[trial.number] = state
        return state

    def _name(self, number: int) -> str:
        if number not in self._names:
            self._names[number] = self._sweep.trial(number).name
        return self._names[number]
