"""Complete a config: names and paths before anything is read, and then what the data say."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lantu.config.build import groups_of, measured_by
from lantu.config.checking import check
from lantu.config.composing import Composition, compose
from lantu.config.naming import experiment_name, run_name
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.redaction import redact
from lantu.tracking.find import place_to_resume
from lantu.training.build_task import task_class
from lantu.training.resume import is_run


def complete_config(composition: Composition) -> DictConfig:
    """The checked config with its names filled in."""
    cfg = composition.cfg
    _resolve_roots(cfg)
    check(composition)
    with open_dict(cfg):
        cfg.choices = composition.choices
        cfg.experiment_name = cfg.experiment_name or experiment_name(composition)
        cfg.name = redact(str(cfg.name or run_name(composition)))
        cfg.paths.run = cfg.paths.run
        if cfg.resume:
            paths = cfg.paths
            cfg.resume = place_to_resume(str(cfg.resume), store=Path(paths.store), tracking_uri=paths.tracking_uri)
            if is_run(cfg.resume) and not any(each.startswith("paths.run=") for each in composition.overrides):
                paths.run = str(Path(cfg.resume).expanduser().absolute())
    OmegaConf.resolve(cfg.paths)
    return cfg


def _resolve_roots(cfg: DictConfig) -> None:
    """Work out once the folders that nearly all paths begin with; `check` complains where that cannot be done."""
    for name in ("root", "store"):
        with suppress(OmegaConfBaseException, AttributeError):
            OmegaConf.update(cfg, f"paths.{name}", cfg.paths[name])


def publish_facts(cfg: DictConfig, data: DataModule, composition: Composition) -> None:
    """Read the data, and fill in the facts that the config of the model and the task refers to."""
    data.carry([*measured_by(cfg), *groups_of(cfg)])
    data.prepare_data()
    data.setup("fit")
    with open_dict(cfg):
        cfg.spec = dict(data.spec)
        if is_chosen_now := "auto" in cfg.task:
            own = {name: value for name, value in cfg.task.items() if name != "auto"}
            cfg.task = OmegaConf.merge(compose(command=f"task/{cfg.task.auto}").cfg.task, own)
            composition.choices["task"] = cfg.choices.task = cfg.spec.task
        changed = task_class(cfg.task).facts(data.spec, as_plain(cfg.task, resolve=False))
        if changed:
            cfg.spec = {**data.spec, **changed}
    check(composition, only_facts=not is_chosen_now)
    _check_outputs(cfg)


def _check_outputs(cfg: DictConfig) -> None:
    """Refuse a number of outputs that a task of Lantu cannot use; a user's own may use the network in another way."""
    asked, wanted = cfg.model.get("outputs"), cfg.spec.get("outputs")
    is_lantus = task_class(cfg.task).__module__.startswith("lantu.")
    if is_lantus and isinstance(asked, int) and isinstance(wanted, int) and asked != wanted:
        raise UserError(
            f"`model.outputs={asked}`: {cfg.task['_target_'].rpartition('.')[2]} needs {wanted} outputs for these "
            "data. Leave the option out."
        )


def as_plain(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Convert a config to dictionaries and lists, with interpolations resolved or kept as written."""
    plain = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
