"""A pool of Ray tasks, on this machine or an existing cluster."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ray

from lantu.errors import UserError
from lantu.interrupts import raise_if_asked
from lantu.ray_cluster import connect, disconnect
from lantu.sweeps.pools.pool import LOOK_SECONDS, Ended, Job, Work, first_line


class RayTasks:
    """One Ray task for each job. Ray reuses its workers and schedules fractions of a GPU."""

    shares_fate: ClassVar[bool] = False

    def __init__(
        self, work: Work, *, address: str | None, resources: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Join a cluster, or start a local one.

        Raises:
            UserError: no cluster at the address, or the cluster is too small to run any job.
        """
        self._running: dict[Any, int] = {}
        self._is_ours = connect(address, options)
        try:
            refuse_impossible(resources)
        except UserError:
            self.close()
            raise
        kept = {name: value for name, value in resources.items() if value is not None}
        # no Ray retries: the sweep itself retries a job whose worker crashed, and counts the attempts
        self._run = ray.remote(max_retries=0, **kept)(_run)
        self._work = ray.put(work)

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._running[self._run.remote(self._work, job)] = job.number

    def wait(self) -> list[Ended]:
        done: list[Any] = []
        while not done:
            raise_if_asked()
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=LOOK_SECONDS)
        ended = []
        for reference in done:
            trouble = ""
            try:
                ray.get(reference)
            except Exception as error:  # the worker or its node crashed
                trouble = first_line(error)
            ended.append(Ended(self._running.pop(reference), trouble))
        return ended

    def close(self) -> None:
        for reference in self._running:
            ray.cancel(reference, force=True)
        if self._is_ours:
            disconnect()


def refuse_impossible(resources: Mapping[str, Any]) -> None:
    """Refuse resources that the whole cluster does not have, before a trial waits for them indefinitely.

    Raises:
        UserError: one trial asks for more than the cluster has.
    """
    has = ray.cluster_resources()
    for option, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        if float(resources.get(option) or 0) > has.get(name, 0):
            raise UserError(
                f"`{option}={resources[option]}`: a trial would wait for ever, for the Ray cluster has "
                f"{has.get(name, 0):g} {name}s in all."
            )


def _run(work: Work, job: Job) -> None:
    work(job)
