"""A pool of reusable processes on this machine (joblib's loky)."""

from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from time import monotonic
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
        self._done: SimpleQueue[Future[None]] = SimpleQueue()
        """Ended jobs. Waiting for any of ten thousand futures instead would look at each of them every time."""

    def submit(self, jobs: Sequence[Job]) -> None:
        pool = get_reusable_executor(max_workers=self._workers, timeout=600)
        for job in jobs:
            future = pool.submit(self._work, job)
            self._running[future] = job.number
            future.add_done_callback(self._done.put)

    def wait(self) -> list[Ended]:
        done: list[Future[None]] = []
        while not done:
            raise_if_asked()
            done = self._ended_within(LOOK_SECONDS)
        if any(future.exception() for future in done):
            end = monotonic() + 1  # a broken pool fails its jobs one after the other
            while len(done) < len(self._running) and (left := end - monotonic()) > 0:
                done += self._ended_within(left)
        ended = []
        for future in done:
            error = future.exception()
            ended.append(Ended(self._running.pop(future), first_line(error) if error else ""))
        return ended

    def _ended_within(self, seconds: float) -> list["Future[None]"]:
        """Wait for a job to end, and return all that have."""
        found: list[Future[None]] = []
        try:
            found.append(self._done.get(timeout=seconds))
            while True:
                found.append(self._done.get_nowait())
        except Empty:
            return found

    def close(self) -> None:
        get_reusable_executor(max_workers=self._workers).shutdown(wait=True, kill_workers=bool(self._running))


def worker_count(requested: int) -> int:
    """Count workers as joblib does: -1 for every core, -2 for all but one."""
    return requested if requested > 0 else max(1, cpu_count() + 1 + requested)
