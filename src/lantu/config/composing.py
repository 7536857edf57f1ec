"""Compose a config from YAML files and overrides, in milliseconds: nothing heavy is imported."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from lantu.config.explain import readable_hydra_errors
from lantu.config.locations import shipped_conf, user_confs
from lantu.config.parse_cache import (
    build_choices_where_interpolated,
    copy_nodes_quickly,
    keep_config_files,
    keep_parse_trees,
    tell_only_new_children_their_parent,
)
from lantu.config.quick_nodes import convert_nodes_quickly, look_up_quickly, resolve_names_quickly
from lantu.renamed_options import with_current_name

HYDRA_VERSION = "1.3"

copy_nodes_quickly()
keep_parse_trees()
keep_config_files()
tell_only_new_children_their_parent()
build_choices_where_interpolated()
convert_nodes_quickly()
look_up_quickly()
resolve_names_quickly()
OmegaConf.register_new_resolver("cwd", os.getcwd, replace=True)
OmegaConf.register_new_resolver("trial_folder", lambda number: f"trials/{int(number or 0):04d}", replace=True)


class UserConfigsFirst(SearchPathPlugin):
    """Puts the user's own config folders in front of ours, so that a file of the same name wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(user_confs()):
            search_path.prepend(provider="user", path=f"file://{folder}")


Plugins.instance().register(UserConfigsFirst)


@dataclass(frozen=True)
class Composition:
    """A composed config, before anything has been built from it."""

    cfg: DictConfig
    choices: dict[str, Any] = field(default_factory=dict)
    """Which file was chosen in every group, such as {"model": "cnn", "callbacks": ["default"]}."""
    overrides: list[str] = field(default_factory=list)
    """What the user typed."""
    sweeper: str = ""
    """The class that would conduct a sweep."""


@contextmanager
def config_search() -> Iterator[None]:
    """Hydra's search path over our configs and the user's; may be nested."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(config_dir=str(shipped_conf()), version_base=HYDRA_VERSION):
        yield


USERS_OWN = ("task.extra_metrics.", "tags.")
"""Parts of the config whose keys are the user's own: they are added without a `+` in front."""


NUMBER_LIKE_ID = re.compile(r"(\+*(?:run|resume)=)(\d[\d_]*(?:e\d+)?)", re.IGNORECASE)
"""The id of a run, or its beginning, that Hydra would read as a number: of 12345e678901 it makes infinity."""


def normalised(override: str) -> str:
    """An override as Hydra wants it: under its current name, ids as text, with `++` where it may add a key."""
    override = with_current_name(override)
    if found := NUMBER_LIKE_ID.fullmatch(override):
        override = f'{found[1]}"{found[2]}"'
    return f"++{override}" if override.startswith(USERS_OWN) else override


def compose(*overrides: str, command: str = "train") -> Composition:
    """Compose the config of a command.

    Args:
        overrides: as on the command line, such as "model=resnet", "optimizer.lr=3e-4".
        command: the primary config: train, evaluate, predict.

    Raises:
        UserError: an override names a group, a file or a key that does not exist, or cannot be read.
    """
    overrides = tuple(map(normalised, overrides))
    with config_search(), readable_hydra_errors(list(overrides), command):
        cfg = hydra_compose(command, list(overrides), return_hydra_config=True)
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    assert isinstance(choices, dict)
    sweeper = str(OmegaConf.select(cfg, "hydra.sweeper._target_"))
    with open_dict(cfg):
        del cfg["hydra"]
    chosen = {str(group): file for group, file in choices.items() if not str(group).startswith("hydra/")}
    return Composition(cfg=cfg, choices=chosen, overrides=list(overrides), sweeper=sweeper)
