"""Check that the nodes that a run reads by name are there, are mappings, and belong to what was chosen."""

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lantu.config.composing import Composition, config_search
from lantu.config.explain import options
from lantu.config.ranges import as_typed
from lantu.errors import UserError

MAPPINGS = ("paths", "budget", "sweep", "economics", "tags")
MAY_BE_EMPTY = (
    "callbacks",
    "logger",
    "init",
    "peft",
    "privacy",
    "scheduler",
    "spec",
    "calibration",
    "business",
    "fairness",
)
NEEDED = (
    *MAPPINGS,
    *("name", "experiment_name", "resume"),
    *(f"paths.{name}" for name in ("root", "store", "tracking_uri", "mirror", "cache", "run")),
)
"""What a run reads by name, so that no command can remove it; the switches and numbers at the top besides."""


def check_structure(composition: Composition) -> None:
    """The nodes that are read by name are there, and are mappings."""
    cfg = composition.cfg
    if "trainer" not in composition.choices:  # evaluate, predict, compare
        _check_mappings(cfg, ("paths", "business", "economics"))
        return
    for name in ("data", "model", "task", "optimizer", "trainer"):
        if not OmegaConf.is_dict(cfg.get(name)) or not cfg[name]:
            with config_search():
                known = ", ".join(options(name))
            raise UserError(f"a run needs `{name}`, which this command leaves out. Choose one: `{name}=...` ({known}).")
    for name in NEEDED:
        parent, _, key = name.rpartition(".")
        if key not in (OmegaConf.select(cfg, parent) if parent else cfg):
            raise UserError(f"a run needs `{name}`, which this command removes: leave out `~{name}`.")
        if not parent:
            _check_mappings(cfg, (name,) if name in MAPPINGS else ())
    _check_mappings(cfg, ("sweep.budget", "economics.usd_per_device_hour"))
    _check_mappings(cfg, MAY_BE_EMPTY, may_be_null=True)
    for group in ("callbacks", "logger"):
        nodes: Any = OmegaConf.to_container(cfg[group], resolve=False) if cfg.get(group) else {}
        for key, node in nodes.items():
            if node is not None and not isinstance(node, dict):
                raise UserError(f"`{group}.{key}={as_typed(node)}`: it takes a mapping with `_target_`, or null.")


def _check_mappings(cfg: DictConfig, names: Iterable[str], *, may_be_null: bool = False) -> None:
    for name in names:
        parent, _, key = name.rpartition(".")
        holder = OmegaConf.select(cfg, parent) if parent else cfg
        if not OmegaConf.is_dict(holder) or key not in holder or (holder[key] is None and may_be_null):
            continue
        if not OmegaConf.is_dict(holder[key]):
            raise UserError(
                f"`{name}={as_typed(holder[key])}`: `{name}` is a mapping; set one of its parts, `{name}.NAME=...`."
            )


def check_preset(composition: Composition) -> None:
    """Refuse a size for networks that have no such options."""
    preset, target = composition.choices.get("preset"), str((composition.cfg.get("model") or {}).get("_target_"))
    if preset and target != "lantu.models.GPT":
        raise UserError(
            f"`preset={preset}` is a size for `model=gpt`, and `model={composition.choices.get('model')}` is another "
            f"network: add `model=gpt`, or leave the preset out."
        )


def check_augment(composition: Composition) -> None:
    """Refuse augmentation of data that take none: it would be asked for and not done."""
    cfg = composition.cfg
    if cfg.get("augment") and "augment" not in (cfg.get("data") or {}):
        chosen, data = composition.choices.get("augment"), composition.choices.get("data")
        raise UserError(
            f"`augment={chosen}` changes training pictures, and `data={data}` takes no augmentation. Leave it out, or "
            "add `augment: ${augment}` to the config of data that do."
        )
