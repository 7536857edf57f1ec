"""Rebuild config, data and model from a checkpoint alone."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lantu.checkpoints.embedded_config import Recipe
from lantu.checkpoints.load import load
from lantu.config.build import build, check_trusted
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.tasks import Task


@dataclass(frozen=True)
class Rebuilt:
    """A run's parts, ready to measure or to apply."""

    cfg: DictConfig
    data: DataModule
    """Knows how to prepare inputs as in training; has read no data yet."""
    task: Task
    """With the checkpoint's weights, in evaluation mode."""


def rebuild(checkpoint: Path, *, data_options: Any = None) -> Rebuilt:
    """Rebuild a run from its checkpoint. No code is unpickled, and only trusted targets are built.

    Args:
        checkpoint: as `find_checkpoint` found it.
        data_options: options of the data module to change, such as a path on this machine.

    Raises:
        UserError: the file is no checkpoint of Lantu's, is damaged, or names something that is not trusted.
    """
    loaded = load(checkpoint)
    config = Recipe.read(loaded)
    if config is None:
        raise UserError(f"{checkpoint} holds no config: Lantu did not write it, so its model cannot be rebuilt.")
    for part in ("data", "model", "task", "peft"):
        check_trusted(config.get(part) or {})
    cfg = OmegaConf.create(config)
    _use_this_machines_mirror(cfg)
    cfg.data = OmegaConf.merge(cfg.data, data_options or {})
    data = build(cfg.data)
    data.load_state_dict(loaded[type(data).__qualname__])
    net = build(_without_pretrained(cfg.model))
    adapt = build(cfg.get("peft"))
    if adapt is not None:
        adapt(net)
    task = build(cfg.task, net=net)
    task.load_state_dict(loaded["state_dict"])
    return Rebuilt(cfg=cfg, data=data, task=task.eval())


def _use_this_machines_mirror(cfg: DictConfig) -> None:
    mirror = os.environ.get("LANTU_MIRROR")
    source = cfg.data.get("source")
    while mirror and OmegaConf.is_dict(source):
        if "mirror" in source:
            source.mirror = mirror
        source = source.get("source")  # a source may wrap another one


def _without_pretrained(model: DictConfig) -> DictConfig:
    """The weights come from the checkpoint; published ones need not be fetched again."""
    if model.get("pretrained"):
        nothing = False if model.pretrained is True else None  # as timm says it, and as ours do
        return OmegaConf.merge(model, {"pretrained": nothing})  # type: ignore[return-value]
    return model
