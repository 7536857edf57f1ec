"""Run trials from a source until all have ended: keep the workers busy, and retry trials whose process crashed."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from lantu.sweeps.pools.pool import Ended, Job, Pool, Work, open_pool
from lantu.sweeps.search.trial_sources import Source
from lantu.sweeps.state.request import Request, without_identity
from lantu.sweeps.state.sweep_folder import ENDED, SweepFolder, TrialFolder


class Engine(Protocol):
    """Runs the trials of a sweep."""

    def planned(self) -> int | None:
        """Return the total number of trials; None if only time or budget limits it."""

    def until_all_have_ended(self) -> Iterator[int | None]:
        """Run all trials. Yields the total number of trials at each change."""

    def close(self) -> None:
        """Release workers and connections."""


MakeEngine = Callable[[Request, SweepFolder, Work], Engine]
MakeSource = Callable[[Request, SweepFolder, HydraContext], Source]


def pooled(make_source: MakeSource) -> MakeEngine:
    """Make an engine that runs a source's trials in the workers of Hydra's launcher."""

    def engine(request: Request, folder: SweepFolder, work: Work) -> Rounds:
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=work.context, task_function=work.task, config=work.config
        )
        pool = open_pool(launcher)
        try:
            source = make_source(request, folder, work.context)
        except BaseException:
            pool.close()
            raise
        retries = int(work.config.sweep.retries)
        return Rounds(folder, pool, source, fixed=without_identity(request.fixed), retries=retries)

    return engine


class Rounds:
    """Run a source's trials in a pool until each has a final status.

    A trial whose process crashes is retried up to `retries` times. In a pool where one crash also ends other trials
    (`shares_fate`), the trial at fault is unknown. Each affected trial then runs again alone, and only a crash while
    running alone counts as a retry.
    """

    def __init__(self, folder: SweepFolder, pool: Pool, source: Source, *, fixed: Sequence[str], retries: int) -> None:
        self._folder, self._pool, self._source = folder, pool, source
        self._fixed, self._retries = tuple(fixed), retries
        self._running: dict[int, TrialFolder] = {}
        self._attempts: dict[int, int] = {}
        self._suspects: deque[TrialFolder] = deque()
        self._deaths: Counter[int] = Counter()
        self._is_spent = False

    def planned(self) -> int | None:
        """Return the total number of trials; None if unknown."""
        return self._source.planned()

    def close(self) -> None:
        """Release the workers."""
        self._pool.close()

    def until_all_have_ended(self) -> Iterator[int | None]:
        """Run all trials. Yields the total number of trials at each change."""
        while True:
            if not self._is_spent:
                self._submit(self._source.next(len(self._running)))
            if not self._running and self._suspects:
                self._submit([self._suspects.popleft()])
            if not self._running:
                return
            yield self.planned()
            ended = self._pool.wait()
            unfinished = [each for each in ended if not self._has_ended(each.number)]
            for trial in self._judge(unfinished, alone=len(ended) == len(self._running) == 1) if unfinished else []:
                self._source.tell(trial)

    def _submit(self, trials: list[TrialFolder]) -> None:
        for trial in trials:
            self._running[trial.number] = trial
            self._attempts[trial.number] = trial.state().attempts
        self._pool.submit([Job(trial.number, self._overrides(trial)) for trial in trials])

    def _overrides(self, trial: TrialFolder) -> tuple[str, ...]:
        return (*self._fixed, *trial.point.overrides, f"sweep.name={self._folder.name}", f"sweep.trial={trial.number}")

    def _has_ended(self, number: int) -> bool:
        trial = self._running[number]
        state = trial.state()
        if state.status not in ENDED:
            return False
        del self._running[number]
        self._is_spent |= state.status == "skipped"
        self._source.tell(trial)
        return True

    def _judge(self, unfinished: list[Ended], *, alone: bool) -> list[TrialFolder]:
        """Retry trials whose process crashed, at once or later alone; return those that are out of retries."""
        is_sure = alone or not self._pool.shares_fate
        trials = {each: self._running.pop(each.number) for each in unfinished}
        started = {each for each, trial in trials.items() if trial.state().attempts > self._attempts[trial.number]}
        given_up, again = [], []
        for each, trial in trials.items():
            trial.owner.release()  # the pool saw the process end, which cannot be checked from another machine
            if is_sure or not started:
                self._deaths[trial.number] += 1
            if self._deaths[trial.number] > self._retries:
                given_up.append(self._give_up(trial, each.trouble))
            elif each in started and self._pool.shares_fate:
                self._suspects.append(trial)
            else:
                again.append(trial)
        self._submit(again)
        return given_up

    def _give_up(self, trial: TrialFolder, trouble: str) -> TrialFolder:
        state = trial.state()
        state.status, state.ended = "failed", time.time()
        state.reason = f"its process died ({trouble})" if trouble else "its process died"
        trial.keep(state)
        return trial
