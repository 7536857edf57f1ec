"""How it stands with a sweep: counts, the best so far, the time left. Read from disk, by the sweep or by anyone."""

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from lantu.sweeps.state.objective import objective_value
from lantu.sweeps.state.sweep_folder import ENDED, State, SweepFolder, TrialFolder


@dataclass(frozen=True)
class Best:
    """The finished trial that is best in the first objective."""

    number: int
    name: str
    metric: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}  {self.metric} {self.value:.4g}"


@dataclass(frozen=True)
class Standing:
    """A sweep at one moment."""

    counts: Counter[str]
    """Trials by status."""
    best: Best | None
    """The best finished trial."""
    seconds: list[float]
    """How long each trial that ran to its end took."""

    @property
    def ended(self) -> int:
        return sum(self.counts[status] for status in ENDED)

    def seconds_left(self, planned: int | None) -> float | None:
        """An estimate from how long trials take, and how many run at the same time."""
        if planned is None or not self.seconds:
            return None
        left = max(0, planned - self.ended)
        parallel = max(1, self.counts["running"])
        return left * statistics.fmean(self.seconds) / parallel


class Watcher:
    """Reads a sweep again and again; trials that have ended are read once."""

    def __init__(self, sweep: SweepFolder) -> None:
        self._sweep = sweep
        self._ended: dict[int, State] = {}
        self._names: dict[int, str] = {}

    def look(self) -> Standing:
        """How it stands now."""
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
        return Standing(counts, named, seconds)

    def newly_ended(self, seen: set[int]) -> list[tuple[TrialFolder, State]]:
        """Trials that have ended and are not among the seen; they are then."""
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
