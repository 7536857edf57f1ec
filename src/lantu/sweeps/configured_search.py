"""Build the parts of a search from its config: space, study, sampler, pruner."""

import os
from collections.abc import Mapping
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from lantu.errors import UserError
from lantu.sweeps.rounds import pooled
from lantu.sweeps.search.objectives import directions_of, objectives_of
from lantu.sweeps.search.options import OptunaOptions
from lantu.sweeps.search.space import Space, read_space
from lantu.sweeps.search.study import Search, SearchOptions
from lantu.sweeps.state.request import Point, Request
from lantu.sweeps.state.snapshot import composed
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.sweeps.sweeper import Conductor
from lantu.tracking.database_owner import refuse_same
from lantu.tracking.store import embedded_uri

WORKERS = 8  # concurrent trials on a cluster whose launcher config sets no limit


def conductor(sweeper: OptunaOptions, *, cfg: DictConfig, context: HydraContext) -> Conductor:
    """Build the conductor of an Optuna search from its config."""

    if sweeper.storage:
        paths = cfg.paths
        refuse_same(storage=sweeper.storage, tracking_uri=paths.tracking_uri or embedded_uri(str(paths.store)))

    def space_of(request: Request, context: HydraContext) -> Space:
        return read_configured_space(sweeper.params, request, context)

    def points(request: Request, context: HydraContext) -> list[Point]:
        return space_of(request, context).examples()

    def source(request: Request, folder: SweepFolder, context: HydraContext) -> Search:
        return Search(
            space_of(request, context),
            folder,
            options_of(sweeper, cfg, folder),
            sampler=lambda trials: _sampler(sweeper.sampler, trials),
            pruner=_build(sweeper.pruner),
        )

    return Conductor(cfg=cfg, context=context, kind="search", points=points, engine=pooled(source))


def read_configured_space(params: Mapping[str, Any], request: Request, context: HydraContext) -> Space:
    """Read the search space from the command line and `hydra.sweeper.params`.

    Raises:
        UserError: the space is empty.
    """
    plain = OmegaConf.to_container(params, resolve=True) if OmegaConf.is_config(params) else dict(params)
    base = composed(context.config_loader, request.fixed).cfg
    space = read_space(request.swept, opened(plain, base), context)  # type: ignore[arg-type]
    if not space.dimensions:
        raise UserError(
            "a search needs something to choose: `optimizer.lr='tag(log, interval(1e-4, 1e-1))'`, "
            "`model='choice(mlp, cnn)'`, or `hydra.sweeper.params` in a config file."
        )
    return space


def opened(params: dict[str, Any], cfg: DictConfig) -> dict[str, Any]:
    """Resolve the conditions that the fixed config already decides, such as `spec.kind=table`.

    A condition that holds is replaced by its dimensions; one that does not hold is dropped.
    """
    found: dict[str, Any] = {}
    for key, value in params.items():
        name, condition, wanted = key.partition("=")
        actual = OmegaConf.select(cfg, name) if condition and name not in params else None
        if actual is None or OmegaConf.is_config(actual):
            found[key] = value
        elif str(actual) == wanted:
            found |= opened(value, cfg)
    return found


def options_of(sweeper: OptunaOptions, cfg: DictConfig, folder: SweepFolder) -> SearchOptions:
    """Return the options of a search, with defaults filled in."""
    if len(objectives_of(cfg)) > 1 and "NopPruner" not in str(sweeper.pruner["_target_"]):
        raise UserError(
            "`hydra/sweeper/pruner`: with several objectives no trial can be ended early; leave it at `none`."
        )
    return SearchOptions(
        n_trials=sweeper.n_trials,
        n_jobs=sweeper.n_jobs or workers(cfg),
        timeout=sweeper.timeout,
        objectives=tuple(objectives_of(cfg)),
        directions=tuple(directions_of(cfg)),
        storage=sweeper.storage,
        study_name=sweeper.study_name or folder.name,
        warm_start=sweeper.warm_start,
    )


def workers(cfg: DictConfig) -> int:
    """Return how many trials the launcher runs at the same time."""
    launcher = cfg.hydra.launcher
    if "basic_launcher" in str(launcher.get("_target_")):
        return 1
    jobs = launcher.get("n_jobs")
    if jobs is not None:
        from lantu.sweeps.pools.joblib import worker_count

        return worker_count(int(jobs))
    return (os.cpu_count() or 1) if launcher.get("cluster") == "local" else WORKERS


def _sampler(node: Mapping[str, Any], trials: int) -> Any:
    """Build a sampler for a study that already has `trials` trials.

    The seed is offset by `trials`, so that a resumed search does not repeat earlier draws. A Sobol sequence keeps its
    own position and needs no offset.
    """
    seed = node.get("seed")
    if seed is None or str(node["_target_"]).endswith("QMCSampler"):
        return _build(node)
    return _build({**node, "seed": int(seed) + trials})


def _build(node: Any) -> Any:
    """Instantiate an Optuna object from its config.

    Raises:
        UserError: the config has an option that the class does not accept.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    from lantu.sweeps.search.study import quiet

    quiet()
    try:
        return instantiate(node)
    except InstantiationException as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"`{node['_target_']}` cannot be made as configured: {first}.") from error
