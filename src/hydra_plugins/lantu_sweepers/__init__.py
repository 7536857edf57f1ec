"""Lantu's Hydra sweepers. Heavy imports happen when a sweep begins.

Hydra imports this module at every start of every Hydra program in an environment with Lantu installed.
"""

import sys
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from lantu.sweeps.search.options import OptunaOptions, RayTuneOptions

if TYPE_CHECKING:
    from lantu.sweeps.pools import Work
    from lantu.sweeps.rounds import Engine
    from lantu.sweeps.search.trial_sources import Source
    from lantu.sweeps.state.request import Point, Request
    from lantu.sweeps.state.sweep_folder import SweepFolder


class _LantuSweeper(Sweeper):
    """The part of Hydra's sweeper interface that all sweepers share."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> None:
        """Conduct the sweep. Exit with status 1 if trials failed, and with 2 for an invalid command."""
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
        """Run the trials; return the number that failed."""


class GridSweeper(_LantuSweeper):
    """Run every combination of the values in the overrides."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = dict(params)

    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        from lantu.sweeps.rounds import pooled
        from lantu.sweeps.search.trial_sources import Grid
        from lantu.sweeps.state.request import grid
        from lantu.sweeps.sweeper import Conductor

        typed = {each.partition("=")[0] for each in arguments}
        dimensions = [f"{key}={value}" for key, value in self._params.items() if key not in typed]
        retries = int(cfg.sweep.retries)

        def source(request: "Request", folder: "SweepFolder", _: HydraContext) -> "Source":
            return Grid(grid(request), folder, retries=retries)

        conductor = Conductor(cfg=cfg, context=context, kind="grid", points=lambda r, _: grid(r), engine=pooled(source))
        return conductor.conduct([*dimensions, *arguments])


class OptunaSweeper(OptunaOptions, _LantuSweeper):
    """Search with Optuna; options in conf/hydra/sweeper/optuna.yaml."""

    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        from lantu.sweeps.configured_search import conductor

        return conductor(self, cfg=cfg, context=context).conduct(arguments)


class RayTuneSweeper(RayTuneOptions, _LantuSweeper):
    """Train a population with Ray Tune; options in conf/hydra/sweeper/ray_tune.yaml."""

    def _conduct(self, arguments: list[str], cfg: DictConfig, context: HydraContext) -> int:
        from lantu.extras import require
        from lantu.sweeps.configured_search import read_configured_space
        from lantu.sweeps.sweeper import Conductor

        require("ray", "hydra/sweeper=ray_tune", "ray")

        def engine(request: "Request", folder: "SweepFolder", work: "Work") -> "Engine":
            from lantu.sweeps.search.ray_tune import Tuning

            return Tuning(self, read_configured_space(self.params, request, work.context), request, folder, work)

        def points(request: "Request", context: HydraContext) -> "list[Point]":
            return read_configured_space(self.params, request, context).examples()

        return Conductor(cfg=cfg, context=context, kind="tune", points=points, engine=engine).conduct(arguments)
