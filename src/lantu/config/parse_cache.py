"""Parse each interpolation and each config file once.

OmegaConf parses `${paths.root}` anew whenever it is resolved, with a grammar in pure Python: half of the time that
checking a config takes. Hydra reads and parses the forty files of a config anew whenever it is composed, and for each
of them builds a config of all choices so far, in which a defaults list may interpolate. Without either, composing takes
84 ms of processor time instead of 170, which a sweep spends on every trial.
"""

import copy
import os
from functools import lru_cache

from hydra._internal import defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import InputDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, base

DISTINCT = 4096
"""Texts whose parse trees are kept, and config files; all of conf/ has some hundred of either."""


def keep_parse_trees() -> None:
    """Let OmegaConf reuse parse trees in this process; nothing is done where it no longer parses in this way.

    A parse tree is only read, so the same text can share one.
    """
    parse = getattr(base, "parse", None)
    if parse is not None and not hasattr(parse, "cache_info"):
        base.parse = lru_cache(DISTINCT)(parse)


def keep_config_files() -> None:
    """Let Hydra reuse the config files that it has parsed in this process, for as long as they are unchanged.

    Each composition gets a copy, since overrides are applied to the nodes of a file. A file that was written to has
    another time or size, and is read again.
    """
    load = ConfigRepository.load_config
    if hasattr(load, "kept"):
        return
    kept: dict[tuple[object, ...], ConfigResult] = {}

    def load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
        if source is None or source.scheme() != "file":
            return load(self, config_path)
        file = os.path.realpath(os.path.join(source.path, source._normalize_file_name(config_path)))
        seen = os.stat(file)
        key = (source.provider, source.path, file, seen.st_mtime_ns, seen.st_size, seen.st_ino)
        if key not in kept:
            if len(kept) >= DISTINCT:
                kept.clear()
            loaded = load(self, config_path)
            if loaded is None:
                return None
            kept[key] = loaded
        result = copy.copy(kept[key])
        result.config = copy.deepcopy(result.config)
        return result

    load_once.kept = kept  # type: ignore[attr-defined]
    ConfigRepository.load_config = load_once  # type: ignore[method-assign]


def build_choices_where_interpolated() -> None:
    """Let Hydra build the config that a defaults list interpolates in only for a list that does interpolate."""
    build = getattr(defaults_list, "_create_interpolation_map", None)
    if build is None or hasattr(build, "where_interpolated"):
        return

    def choices(overrides: defaults_list.Overrides, defaults: list[InputDefault], self_added: bool) -> DictConfig:
        if any(default.is_interpolation() for default in defaults):
            return build(overrides, defaults, self_added)
        return DictConfig({})

    choices.where_interpolated = True  # type: ignore[attr-defined]
    defaults_list._create_interpolation_map = choices  # type: ignore[assignment]
