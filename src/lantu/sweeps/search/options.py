"""The options of the searches. The sweepers in `hydra_plugins` add a `sweep` method to these classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True, eq=False)
class OptunaOptions:
    """Options of a search with Optuna; documented in conf/hydra/sweeper/optuna.yaml."""

    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]
    n_trials: int | None
    n_jobs: int | None
    timeout: float | None
    storage: str | None
    study_name: str | None
    warm_start: tuple[str, ...]
    params: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.warm_start = tuple(self.warm_start)


@dataclass(kw_only=True, eq=False)
class RayTuneOptions:
    """Options of a search with Ray Tune; documented in conf/hydra/sweeper/ray_tune.yaml."""

    scheduler: Mapping[str, Any]
    n_trials: int
    timeout: float | None
    num_cpus: float
    num_gpus: float
    address: str | None
    retries: int
    params: Mapping[str, Any]
