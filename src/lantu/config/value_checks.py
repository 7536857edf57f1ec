"""Check values: their ranges, and that what is typed keeps the kind of the default."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lantu.config.composing import Composition, compose, config_search
from lantu.config.explain import groups as every_group
from lantu.config.explain import leaves
from lantu.config.locations import user_confs
from lantu.config.ranges import as_typed, complaint, required_kind, rule_for
from lantu.config.typed_paths import check_path
from lantu.errors import UserError

OUR_PACKAGES = ("lantu", "datetime", "pytorch_lightning", "timm", "torch", "torchvision", "transformers")
"""The packages whose options `ranges` describes."""


def check_ranges(cfg: DictConfig, plain: Any, written: dict[str, Any]) -> None:
    """Refuse a value outside its option's range.

    Args:
        plain: the config with its interpolations as they are written.
        written: the leaves of that, by dotted name.
    """
    for path, value in written.items():
        if value == "???" or not _is_ours(plain, path):
            continue
        if isinstance(value, str) and "${" in value:
            if "${spec." in value or rule_for(path) is None:
                continue
            try:
                value = OmegaConf.select(cfg, path)  # noqa: PLW2901
            except OmegaConfBaseException:
                continue
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=False)  # noqa: PLW2901
        if (wrong := complaint(path, value)) is not None:
            raise UserError(wrong)


def check_kinds(composition: Composition, plain: Any) -> None:
    """A value that was typed for an option without a rule keeps the kind of the default.

    Args:
        plain: the config with its interpolations as they are written.
    """
    typed = [each for each in composition.overrides if not each.startswith(("+", "~", "hydra"))]
    groups = _groups(tuple(user_confs()))
    setting = [each for each in typed if "/" not in each.partition("=")[0] and each.partition("=")[0] not in groups]
    if not setting:
        return
    defaults = _defaults(tuple(each for each in composition.overrides if each not in setting), tuple(user_confs()))
    mirror = OmegaConf.select(composition.cfg, "paths.mirror")
    for key in (each.partition("=")[0] for each in setting):
        value = _at(plain, key)
        if key not in defaults or not _is_ours(plain, key) or (isinstance(value, str) and "${" in value):
            continue
        if isinstance(value, dict) and value.get("_target_"):
            continue
        check_path(key, value, default=defaults[key], mirror=mirror)
        wrong = complaint(key, value)
        if rule_for(key) is None and (instead := required_kind(defaults[key], value)) is not None:
            wrong = f"`{key}={as_typed(value)}`: `{key}` takes {instead}."
        if wrong is not None:
            raise UserError(wrong)


def check_plain_values(composition: Composition) -> None:
    """A value typed for an option of ours that is no callable's (seed, test, ...) keeps the default's kind."""
    cfg = composition.cfg
    for key, default in _plain_defaults(tuple(user_confs())).items():
        if key not in cfg:
            if "trainer" in composition.choices:
                raise UserError(f"a run needs `{key}`, which this command removes: leave out `~{key}`.")
            continue
        value: Any = cfg[key] if not OmegaConf.is_missing(cfg, key) else None
        if type(value) is not type(default):
            kind = "true or false" if isinstance(default, bool) else "a whole number"
            raise UserError(f"`{key}={as_typed(value)}`: `{key}` takes {kind}, and {as_typed(value)} is not that.")


@lru_cache
def _plain_defaults(confs: tuple[Path, ...]) -> dict[str, bool | int]:
    """The switches and whole numbers at the top of the config that these folders and ours make."""
    return {str(key): default for key, default in compose().cfg.items() if isinstance(default, bool | int)}


@lru_cache(maxsize=8)
def _groups(_: tuple[Path, ...]) -> frozenset[str]:
    """The config groups, with those of the user's folders."""
    with config_search():
        return frozenset(every_group())


def _at(plain: Any, path: str) -> Any:
    for name in path.split("."):
        plain = plain.get(name) if isinstance(plain, dict) else None
    return plain


@lru_cache
def _defaults(choices: tuple[str, ...], confs: tuple[Path, ...]) -> dict[str, Any]:
    """Every option with its default, once files are chosen; `confs` are where they are searched."""
    try:
        return leaves(compose(*choices).cfg)
    except UserError:
        return {}


def _is_ours(plain: Any, path: str) -> bool:
    """Whether the class that an option belongs to is one that `ranges` describes, and none of the user's own."""
    target = None
    node = plain
    for name in path.split(".")[:-1]:
        if not isinstance(node, dict) or name not in node:
            break
        node = node[name]
        if isinstance(node, dict) and isinstance(node.get("_target_"), str):
            target = node["_target_"]
    return target is None or target.partition(".")[0] in OUR_PACKAGES
