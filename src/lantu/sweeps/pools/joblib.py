"""A pool of reusable processes on this machine (joblib's loky)."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import ClassVar

from joblib import cpu_count
from joblib.externals.loky import get_reusable_executor

from lantu.interrupts import raise_if_asked
from lantu.sweeps.pools.pool import LOOK_SECONDS, Ended, Job, Work, first_line


class Processes:
    """`workers` processes that import their dependencies once. A broken pool is replaced by a new one."""

    shares_fate: ClassVar[bool] = True

    def __init__(self, work: Work, *, workers: int) -> None:
        self._work = work
        self._workers = worker_count(workers)
        self._running: dict[Future[None], int] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        pool = get_reusable_executor(max_workers=self._workers, timeout=600)
        for job in jobs:
            self._running[pool.submit(self._work, job)] = job.number

    def wait(self) -> list[Ended]:
        done: set[Future[None]] = set()
        while not done:
            raise_if_asked()
            done, _ = wait(self._running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        if any(future.exception() for future in done):
            done, _ = wait(self._running, timeout=1)  # a broken pool fails its jobs one after the other
        ended = []
        for future in done:
            error = future.exception()
            ended.append(Ended(self._running.pop(future), first_line(error) if error else ""))
        return ended

    def close(self) -> None:
        get_reusable_executor(max_workers=self._workers).shutdown(wait=True, kill_workers=bool(self._running))


def worker_count(asked: int) -> int:
    """Count workers as joblib does: -1 for every core, -2 for all but one."""
    return asked if asked > 0 else max(1, cpu_count() + 1 + asked)
