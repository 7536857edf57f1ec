"""SLURM through submitit: one job for each trial, which SLURM may preempt, requeue or move to another node.

Whether a job is over is asked of `squeue` alone: an accounting database (`sacct`), which submitit itself asks, is not
kept everywhere, and without one a job that was killed would be waited for without end.
"""

import json
import os
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import submitit
from submitit.core.utils import DelayedSubmission

from lantu.errors import UserError
from lantu.interrupts import raise_if_asked
from lantu.sweeps.pools.pool import Ended, Job, Work, first_line
from lantu.sweeps.state.sweep_folder import ENDED, SweepFolder

NOTE = "job.json"
"""The file in a trial's folder that names its SLURM job, so that a sweep that starts again waits for it."""
SHARED = ("name", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min")
"""Options that submitit names alike for every cluster; the others carry the cluster's name in front."""
FIRST_LOOK, LAST_LOOK = 0.5, 10.0  # seconds between looks at the queue, growing


@dataclass(frozen=True)
class Resumable:
    """A job as submitit likes it: at the time limit or at preemption it is queued again as it is."""

    work: Work
    job: Job

    def __call__(self) -> None:
        self.work(self.job)

    def checkpoint(self) -> DelayedSubmission:
        """What runs after a requeue: the same, which goes on from its newest checkpoint."""
        return DelayedSubmission(self)


class Submitted:
    """Jobs in SLURM's queue, or, with `cluster=local`, processes started in the same way on this machine."""

    shares_fate: ClassVar[bool] = False

    def __init__(
        self,
        work: Work,
        *,
        cluster: str,
        sweep: str,
        n_jobs: int | None,
        max_num_timeout: int,
        parameters: Mapping[str, Any],
    ) -> None:
        """Prepare to submit.

        Args:
            cluster: slurm or local.
            sweep: the sweep's folder, on a disk that all nodes see.
            n_jobs: jobs that may run at the same time; None: as many as the cluster takes.
            max_num_timeout: how often a job may be queued again after its time limit.
            parameters: submitit's, such as timeout_min, nodes, gpus_per_node, partition.

        Raises:
            UserError: no SLURM here, or an option that it does not have.
        """
        if cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(
                "`hydra/launcher=slurm` submits jobs with `sbatch`, which is not on this machine. Run the command on a "
                "login node of your cluster, or use another launcher: `hydra/launcher=joblib`, `ray`, `submitit_local`."
            )
        self._work, self._cluster, self._sweep = work, cluster, SweepFolder(Path(sweep))
        self._n_jobs = n_jobs if n_jobs is not None else (256 if cluster == "slurm" else os.cpu_count() or 1)
        self._waiting: deque[Job] = deque()
        self._running: dict[int, submitit.Job[None]] = {}
        options = {f"{cluster}_max_num_timeout": max_num_timeout}
        self._executor = submitit.AutoExecutor(folder=f"{sweep}/jobs/%j", cluster=cluster, **options)
        given = {
            key if key in SHARED else f"{cluster}_{key}": value
            for key, value in parameters.items()
            if value is not None
        }
        if cluster == "slurm":
            given["slurm_array_parallelism"] = self._n_jobs
        try:
            self._executor.update_parameters(**given)
        except (NameError, TypeError, ValueError) as error:
            raise UserError(f"`hydra.launcher`: submitit does not take this: {first_line(error)}.") from error

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting += [job for job in jobs if not self._attach(job)]
        self._start()

    def wait(self) -> list[Ended]:
        pause = FIRST_LOOK
        while True:
            raise_if_asked()
            ended = self._look()
            self._start()
            if ended:
                return ended
            time.sleep(pause)
            pause = min(pause * 1.2, LAST_LOOK)

    def close(self) -> None:
        for job in self._running.values():
            with suppress(subprocess.CalledProcessError, OSError):
                job.cancel(check=False)

    def _start(self) -> None:
        """Submit: to SLURM everything, which limits by itself what runs at once; here as many as there is room for."""
        room = len(self._waiting) if self._cluster == "slurm" else self._n_jobs - len(self._running)
        jobs = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        if not jobs:
            return
        try:
            submitted = self._executor.submit_array([Resumable(self._work, job) for job in jobs])
        except submitit.core.utils.FailedJobError as error:
            said = [line.rpartition("error:")[2].strip() for line in str(error).splitlines() if "error:" in line]
            reason = (said[-1] if said else first_line(error)).rstrip(".")
            raise UserError(
                f"SLURM did not take the jobs: {reason.rstrip('.')}. See "
                f"`hydra.launcher.partition`, `.account`, `.qos`, `.timeout_min`, `.gpus_per_node`; "
                f"`sinfo` shows what there is."
            ) from error
        for job, each in zip(jobs, submitted, strict=True):
            self._running[job.number] = each
            note = self._sweep.trial(job.number).path / NOTE
            note.write_text(json.dumps({"cluster": self._cluster, "job": each.job_id, "tasks": each.num_tasks}))

    def _attach(self, job: Job) -> bool:
        """Whether the trial's job of an earlier start of the sweep is queued or running still, and is waited for."""
        try:
            note = json.loads((self._sweep.trial(job.number).path / NOTE).read_text())
        except (OSError, ValueError):
            return False
        if self._cluster != "slurm" or note["cluster"] != "slurm" or note["job"] not in (queued() or set()):
            return False
        folder = self._sweep.path / "jobs" / "%j"
        self._running[job.number] = submitit.SlurmJob(folder, note["job"], tasks=range(note["tasks"]))
        return True

    def _look(self) -> list[Ended]:
        """Jobs that are over by now."""
        if self._cluster == "slurm":
            there = queued()
            if there is None:  # the controller is away; its jobs are not
                return []
            over = [number for number, job in self._running.items() if job.job_id not in there or self._is_done(number)]
        else:
            over = [number for number, job in self._running.items() if job.done()]
        return [Ended(number, self._trouble(number, self._running.pop(number))) for number in over]

    def _is_done(self, number: int) -> bool:
        return self._sweep.trial(number).state().status in ENDED

    def _trouble(self, number: int, job: "submitit.Job[None]") -> str:
        if self._is_done(number):
            return ""
        where = "SLURM job" if self._cluster == "slurm" else "process"
        log = job.paths.stderr
        said = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        causes = [line for line in said if "error:" in line or "CANCELLED" in line or "oom" in line.lower()]
        return f"{where} {job.job_id} ended early" + (f": {causes[-1].strip()[:200]}" if causes else f"; see {log}")


def queued() -> set[str] | None:
    """This user's SLURM jobs that are waiting, running or ending, such as 123_4; None while nobody answers."""
    try:
        answer = subprocess.run(
            ["squeue", "--noheader", "--array", "--me", "--format=%i"],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(answer.stdout.split()) if answer.returncode == 0 else None
