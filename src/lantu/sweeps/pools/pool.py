"""The interface of a pool of workers, and the job that each worker runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from lantu.errors import UserError

LOOK_SECONDS = 1.0
"""How long a pool waits for its jobs before it checks for Ctrl-C."""


@dataclass(frozen=True)
class Job:
    """A trial to run."""

    number: int
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """A job that has ended. Whether its trial is complete is in the trial's state.json."""

    number: int
    trouble: str = ""
    """Why the job ended, if not through the trial itself, such as a killed worker."""


class Pool(Protocol):
    """Workers that run jobs at the same time."""

    shares_fate: ClassVar[bool]
    """Whether a crash of one worker also ends the jobs of others, so that the job at fault is unknown."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run jobs as soon as workers are free."""

    def wait(self) -> list[Ended]:
        """Block until at least one job has ended."""

    def close(self) -> None:
        """Release the workers; jobs that still run are killed."""


@dataclass(frozen=True)
class Work:
    """Hydra's task function and what a worker needs to compose a trial's config. It must be picklable."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    singletons: dict[Any, Any]
    folder: str
    """The working directory of the command; relative paths start here."""

    @classmethod
    def of(cls, context: HydraContext, config: DictConfig, task: TaskFunction) -> "Work":
        return cls(context, config, task, Singleton.get_state(), os.getcwd())

    def __call__(self, job: Job) -> None:
        """Compose the job's config and run the task function on it, as Hydra's own launchers do."""
        os.chdir(self.folder)
        setup_globals()
        Singleton.set_state(self.singletons)
        config = self.context.config_loader.load_sweep_config(self.config, list(job.overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{job.number}"
            config.hydra.job.num = job.number
        HydraConfig.instance().set_config(config)
        done = run_job(
            hydra_context=self.context,
            config=config,
            task_function=self.task,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        _ = done.return_value  # reading it raises what the task raised


class Batches:
    """A third-party Hydra launcher as a pool: all submitted jobs are launched as one batch."""

    shares_fate: ClassVar[bool] = True

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._waiting: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting += jobs

    def wait(self) -> list[Ended]:
        jobs, self._waiting = self._waiting, []
        trouble = ""
        try:
            self._launcher.launch([list(job.overrides) for job in jobs], initial_job_idx=jobs[0].number)
        except UserError:
            raise
        except Exception as error:  # a worker crashed or a job was lost: the trials' states say which
            trouble = first_line(error)
        return [Ended(job.number, trouble) for job in jobs]

    def close(self) -> None:
        """Nothing to release."""


def open_pool(launcher: Launcher) -> Pool:
    """Open the launcher's pool of workers; a launcher without `open` runs batches."""
    pool: Pool = launcher.open() if hasattr(launcher, "open") else Batches(launcher)
    return pool


def first_line(error: BaseException) -> str:
    """Format an exception in one line."""
    message = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
