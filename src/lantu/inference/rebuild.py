"""Rebuild config, data and model from a checkpoint alone."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lantu.checkpoints.embedded_config import Recipe
from lantu.checkpoints.load import load
from lantu.checkpoints.weights import check_finite, check_types
from lantu.config.build import build, decided_parts, measured_by
from lantu.config.foreign import closed
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.inference.exported import KEY, ExportedNetwork, load_weights, refuse_changed
from lantu.tasks import Task

IDENTITY = ("data._target_", "data.target", "task._target_", "model._target_")
"""Settings in which the checkpoints of a run agree with its folder's config."""


@dataclass(frozen=True)
class Rebuilt:
    """A run's parts, ready to measure or to apply."""

    cfg: DictConfig
    data: DataModule
    """Knows how to prepare inputs as in training; has read no data yet."""
    task: Task
    """With the checkpoint's weights, in evaluation mode."""


def rebuild(checkpoint: Path, *, data_options: Any = None, cache: str | None = None, trusted: bool = False) -> Rebuilt:
    """Rebuild a run from its checkpoint. No code is unpickled, and only what `allowed_targets.py` lists is built.

    Args:
        checkpoint: as `find_checkpoint` found it.
        data_options: options of the data module to change, such as a path on this machine.
        cache: folder for decoded images and tokens; None: the data module's default, whatever the config says.
        trusted: read an export of `format=torch` too, which this process has just written: such a file can run code.

    Raises:
        UserError: the file is no checkpoint of Lantu's, is damaged, names something that is not trusted, or its parts
            do not fit together.
    """
    loaded = load(checkpoint)
    config = _stored_config(loaded)
    if config is None:
        raise UserError(f"{checkpoint} holds no config: Lantu did not write it, so its model cannot be rebuilt.")
    if loaded.get(KEY, {}).get("format") == "torch" and not trusted:
        raise UserError(
            f"{checkpoint.parent} is an export of `format=torch`, and reading such a file can run code that is in it. "
            "Name the run itself, or an export of `format=onnx` or `format=safetensors`."
        )
    cfg = OmegaConf.create(closed(config))
    try:
        rebuilt = _rebuilt(cfg, loaded, folder=checkpoint.parent, data_options=data_options, cache=cache)
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:  # a foreign config and foreign weights can disagree in any way
        reason = next((line for line in str(error).splitlines() if line.strip()), "")[:300]
        raise UserError(
            f"{checkpoint} cannot be rebuilt: its config, its data's state and its weights do not fit together "
            f"({type(error).__name__}: {reason})."
        ) from error
    _refuse_another_runs(cfg, checkpoint)
    return rebuilt


def _refuse_another_runs(cfg: DictConfig, checkpoint: Path) -> None:
    """Refuse a checkpoint in the folder of another run, with whose figures and predictions it would be shown.

    Raises:
        UserError: the folder's config names another kind of data, target, task or model.
    """
    beside = checkpoint.parent.parent / "config.yaml"
    if checkpoint.parent.name != "checkpoints" or not beside.is_file():
        return
    try:
        config = OmegaConf.load(beside)
        named = {name: [OmegaConf.select(each, name) for each in (cfg, config)] for name in IDENTITY}
    except Exception:  # the checkpoint holds all that is needed, so a damaged file beside it does no harm
        return
    for name, (here, there) in named.items():
        if there is not None and there != here:
            raise UserError(
                f"{checkpoint} is of another run than the folder it is in: its config has `{name}={here}`, the "
                f"folder's {beside.name} `{there}`. Put it into a folder of its own and name that."
            )


def _stored_config(loaded: Any) -> Any:
    """The config inside a loaded checkpoint; None when Lantu did not write it."""
    try:
        return Recipe.read(loaded)
    except (AttributeError, KeyError, TypeError):  # callbacks that are no mapping, a state without a config
        return None


def _rebuilt(cfg: DictConfig, loaded: dict[str, Any], *, folder: Path, data_options: Any, cache: str | None) -> Rebuilt:
    _use_this_machines_mirror(cfg)
    if OmegaConf.is_config(data_options):
        data_options = OmegaConf.to_container(data_options, resolve=True)
    written_to = cfg.data.pop("cache", None)  # such a folder is the user's choice, not the config's
    cfg.data = OmegaConf.merge(cfg.data, {"cache": cache} if cache and written_to else {}, data_options or {})
    data = build(cfg.data)
    state = loaded[type(data).__qualname__]
    if not isinstance(state["learned"], dict) or not isinstance(state["spec"], dict):
        raise TypeError("what the data module learned is no mapping")
    data.load_state_dict(state)
    data.carry(measured_by(cfg))
    exported = loaded.get(KEY)
    if exported:
        refuse_changed(folder, exported)
    if exported and exported["format"] != "safetensors":
        task = build(cfg.task, net=ExportedNetwork(folder, exported), **decided_parts(cfg))
        task.load_state_dict(loaded["state_dict"], strict=False)  # the network's weights are in its own file
        data.carry(task.carried_columns)
        return Rebuilt(cfg=cfg, data=data, task=task.eval())
    net = build(_without_pretrained(cfg.model))
    adapt = build(cfg.get("peft"))
    if adapt is not None:
        adapt(net)
    task = build(cfg.task, net=net, **decided_parts(cfg))
    if exported:
        load_weights(task.net, folder)  # a task may wrap the network: in one for each fold of a walk
        task.load_state_dict(loaded["state_dict"], strict=False)
    else:
        check_types(loaded["state_dict"], task)
        task.load_state_dict(loaded["state_dict"])
    check_finite(task)
    data.carry(task.carried_columns)
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
