"""Lantu's Hydra launchers. Each imports its dependencies when a sweep opens it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from lantu.sweeps.pools import Pool, Work


class PoolLauncher(Launcher):
    """A launcher that Lantu's sweepers use as a pool of workers. It also works with any other sweeper."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    @abstractmethod
    def open(self) -> "Pool":
        """Open the pool of workers."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs, whether or not some fail; results are on disk."""
        from lantu.sweeps.pools import Job

        pool = self.open()
        left = {number: Job(number, tuple(each)) for number, each in enumerate(job_overrides, initial_job_idx)}
        try:
            pool.submit(list(left.values()))
            while left:
                for ended in pool.wait():
                    del left[ended.number]
        finally:
            pool.close()
        return [JobReturn() for _ in job_overrides]

    def _work(self) -> "Work":
        from lantu.sweeps.pools import Work

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.task_function is not None
        return Work.of(self.hydra_context, self.config, self.task_function)


class JoblibLauncher(PoolLauncher):
    """Processes on this machine; options in conf/hydra/launcher/joblib.yaml."""

    def __init__(self, *, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def open(self) -> "Pool":
        from lantu.sweeps.pools.joblib import Processes

        return Processes(self._work(), workers=self.n_jobs)


class RayLauncher(PoolLauncher):
    """Ray; options in conf/hydra/launcher/ray.yaml."""

    def __init__(
        self, *, n_jobs: int | None, address: str | None, num_cpus: float, num_gpus: float, init: Mapping[str, Any]
    ) -> None:
        self.n_jobs, self.address, self.init = n_jobs, address, init
        self.resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}

    def open(self) -> "Pool":
        from lantu.extras import require

        require("ray", "hydra/launcher=ray", "ray")
        from lantu.sweeps.pools.ray import RayTasks

        options = OmegaConf.to_container(self.init) if OmegaConf.is_config(self.init) else dict(self.init)
        assert isinstance(options, dict)
        return RayTasks(
            self._work(),
            address=self.address,
            resources=self.resources,
            options={str(k): v for k, v in options.items()},
        )


class SubmititLauncher(PoolLauncher):
    """SLURM, or local processes through submitit; options in conf/hydra/launcher/slurm.yaml."""

    def __init__(
        self, *, cluster: str, n_jobs: int | None, max_num_timeout: int, setup: Sequence[str], **parameters: Any
    ) -> None:
        self.cluster, self.n_jobs, self.max_num_timeout = cluster, n_jobs, max_num_timeout
        self.parameters = {**parameters, "setup": list(setup)}

    def open(self) -> "Pool":
        from lantu.extras import require

        require("submitit", f"hydra/launcher={self.cluster}", "slurm")
        from lantu.sweeps.pools.submitit import Submitted

        assert self.config is not None
        parameters = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in self.parameters.items()
        }
        return Submitted(
            self._work(),
            cluster=self.cluster,
            sweep=str(self.config.hydra.sweep.dir),
            n_jobs=self.n_jobs,
            max_num_timeout=self.max_num_timeout,
            parameters=parameters,
        )
