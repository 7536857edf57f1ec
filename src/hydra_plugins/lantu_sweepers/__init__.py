"""Lantu's sweepers, where Hydra looks for plugins. Nothing heavy is imported until a sweep begins.

Hydra imports this module at every start, also that of another program that has Lantu installed.
"""

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from lantu.sweeps.folder import SweepFolder
    from lantu.sweeps.pools import Work
    from lantu.sweeps.request import Point, Request
    from lantu.sweeps.rounds import Engine
    from lantu.sweeps.sources import Source


class _LantuSweeper(Sweeper):
    """What both sweepers are to Hydra."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> None:
        """Conduct the sweep; the process ends with status 1 when trials failed, with 2 for a mistake in the command."""
        from lantu.errors import UserError

        assert self.config is not None
        assert self.hydra_context is not None
        try:
            failed = self._conduct(arguments, self.config, self.hydra_context)
        except UserError as error:
            print(f"lantu train: {error}", file=sys.stderr)
            sys.exit(2)
        if failed:
            sys.exit(1)

    @abstractmethod
    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        """Run the trials; how many failed."""


class GridSweeper(_LantuSweeper):
    """Every combination of the values that overrides name."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = dict(params)

    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        from lantu.sweeps.request import grid
        from lantu.sweeps.rounds import pooled
        from lantu.sweeps.sources import Grid
        from lantu.sweeps.sweeper import Conductor

        typed = {each.partition("=")[0] for each in arguments}
        dimensions = [f"{key}={value}" for key, value in self._params.items() if key not in typed]
        retries = int(cfg.sweep.retries)

        def source(request: "Request", folder: "SweepFolder", _: HydraContext) -> "Source":
            return Grid(grid(request), folder, retries=retries)

        conductor = Conductor(cfg=cfg, context=context, kind="grid", points=lambda r, _: grid(r), engine=pooled(source))
        return conductor.conduct([*dimensions, *arguments])


class OptunaSweeper(_LantuSweeper):
    """A search by Optuna; conf/hydra/sweeper/optuna.yaml says what may be set."""

    def __init__(
        self,
        *,
        sampler: Mapping[str, Any],
        pruner: Mapping[str, Any],
        n_trials: int | None,
        n_jobs: int | None,
        timeout: float | None,
        storage: str | None,
        study_name: str | None,
        warm_start: Sequence[str],
        params: Mapping[str, Any],
    ) -> None:
        self.sampler, self.pruner = sampler, pruner
        self.n_trials, self.n_jobs, self.timeout = n_trials, n_jobs, timeout
        self.storage, self.study_name = storage, study_name
        self.warm_start, self.params = tuple(warm_start), params

    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        from lantu.sweeps.searching import conductor

        return conductor(self, cfg=cfg, context=context).conduct(arguments)


class RayTuneSweeper(_LantuSweeper):
    """A population by Ray Tune; conf/hydra/sweeper/ray_tune.yaml says what may be set."""

    def __init__(
        self,
        *,
        scheduler: Mapping[str, Any],
        n_trials: int,
        timeout: float | None,
        num_cpus: float,
        num_gpus: float,
        address: str | None,
        retries: int,
        params: Mapping[str, Any],
    ) -> None:
        self.scheduler, self.params = scheduler, params
        self.n_trials, self.timeout, self.retries = n_trials, timeout, retries
        self.num_cpus, self.num_gpus, self.address = num_cpus, num_gpus, address

    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        from hydra_plugins.lantu_launchers import require
        from lantu.sweeps.searching import read_configured_space
        from lantu.sweeps.sweeper import Conductor

        require("ray", "hydra/sweeper=ray_tune", "ray")

        def engine(request: "Request", folder: "SweepFolder", work: "Work") -> "Engine":
            from lantu.sweeps.tuning import Tuning

            return Tuning(self, read_configured_space(self.params, request, work.context), request, folder, work)

        def points(request: "Request", context: HydraContext) -> "list[Point]":
            return read_configured_space(self.params, request, context).examples()

        return Conductor(cfg=cfg, context=context, kind="tune", points=points, engine=engine).conduct(arguments)
