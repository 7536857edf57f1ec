"""What a pool of workers promises, and the job that every one of them runs."""

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
"""How long a pool waits for its jobs at a stretch, before it looks whether Ctrl-C was pressed."""


@dataclass(frozen=True)
class Job:
    """A trial to run."""

    number: int
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """A job that is over. Whether its trial is done as well, the trial's folder says."""

    number: int
    trouble: str = ""
    """What the pool knows of an end that was none of the trial's own, such as a killed worker."""


class Pool(Protocol):
    """Workers that run jobs at the same time."""

    shares_fate: ClassVar[bool]
    """Whether the death of one worker takes the jobs of others along, so that the guilty one is not known."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run jobs as soon as there is room."""

    def wait(self) -> list[Ended]:
        """Block until at least one job is over."""

    def close(self) -> None:
        """Give back what it holds; jobs that still run are ended."""


@dataclass(frozen=True)
class Work:
    """Hydra's task function with all that a worker needs to compose a trial's config for it. Travels by pickle."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    singletons: dict[Any, Any]
    folder: str
    """Where the command was typed, which relative paths start from."""

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
    """Any other launcher of Hydra's as a pool: what was submitted is launched at once and waited for as a whole."""

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
        except Exception as error:  # a worker died, a job was lost: what is on disk says which
            trouble = first_line(error)
        return [Ended(job.number, trouble) for job in jobs]

    def close(self) -> None:
        """It holds nothing."""


def open_pool(launcher: Launcher) -> Pool:
    """The workers of a launcher; one that is not of ours runs batches."""
    pool: Pool = launcher.open() if hasattr(launcher, "open") else Batches(launcher)
    return pool


def first_line(error: BaseException) -> str:
    """An exception in a line."""
    said = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
