"""A pool of SLURM jobs through submitit: one job for each trial. SLURM may preempt, requeue or move a job.

Whether a job has ended is read from `squeue` only. submitit itself asks `sacct`, but not every cluster keeps that
accounting database, and without it a killed job would never be reported as ended.
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
"""The file in a trial's folder that holds its SLURM job id, so that a restarted sweep waits for that job."""
SHARED = ("name", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "mem_gb", "timeout_min")
"""Options with the same name on every cluster; submitit prefixes the others with the cluster's name."""
FIRST_LOOK, LAST_LOOK = 0.5, 10.0  # seconds between queries of the queue, growing


@dataclass(frozen=True)
class Resumable:
    """A job with submitit's checkpoint protocol: it is requeued unchanged at the time limit or at preemption."""

    work: Work
    job: Job

    def __call__(self) -> None:
        self.work(self.job)

    def checkpoint(self) -> DelayedSubmission:
        """Return what runs after a requeue: the same job, which resumes from its newest checkpoint."""
        return DelayedSubmission(self)


class Submitted:
    """Jobs in SLURM's queue, or with `cluster=local` processes on this machine."""

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
            sweep: the sweep's folder, on a file system that all nodes share.
            n_jobs: maximum number of concurrent jobs. None: 256 on SLURM, the number of cores otherwise.
            max_num_timeout: how often a job may be requeued after its time limit.
            parameters: submitit's, such as timeout_min, nodes, gpus_per_node, partition.

        Raises:
            UserError: SLURM is not installed, or submitit does not accept a parameter.
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
        """Submit all jobs to SLURM, which limits concurrency itself; locally as many as there are free slots."""
        room = len(self._waiting) if self._cluster == "slurm" else self._n_jobs - len(self._running)
        jobs = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        if not jobs:
            return
        try:
            submitted = self._executor.submit_array([Resumable(self._work, job) for job in jobs])
        except submitit.core.utils.FailedJobError as error:
            errors = [line.rpartition("error:")[2].strip() for line in str(error).splitlines() if "error:" in line]
            reason = (errors[-1] if errors else first_line(error)).rstrip(".")
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
        """Attach to the trial's job from an earlier start of the sweep, if it is still queued or running."""
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
        """Return the jobs that have ended."""
        if self._cluster == "slurm":
            there = queued()
            if there is None:  # the controller does not respond; assume that the jobs continue
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
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        causes = [line for line in lines if "error:" in line or "CANCELLED" in line or "oom" in line.lower()]
        return f"{where} {job.job_id} ended early" + (f": {causes[-1].strip()[:200]}" if causes else f"; see {log}")


def queued() -> set[str] | None:
    """Return this user's SLURM job ids that are pending, running or completing, such as 123_4; None if squeue fails."""
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
