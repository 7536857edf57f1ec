"""Parse each interpolation and each config file once.

OmegaConf parses `${paths.root}` anew whenever it is resolved, with a grammar in pure Python: half of the time that
checking a config takes. Hydra reads and parses the forty files of a config anew whenever it is composed, copies each
of them once more to put it into its package, and for each builds a config of all choices so far, in which a defaults
list may interpolate. OmegaConf visits the whole config after each file. Without that, composing takes 52 ms of
processor time instead of 170, which a sweep spends on every trial.
"""

import copy
import os
import pickle
from functools import lru_cache

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import InputDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import Container, DictConfig, OmegaConf, base

DISTINCT = 4096
"""Texts whose parse trees are kept, and config files; all of conf/ has some hundred of either."""

NOT_PICKLED = (pickle.PicklingError, AttributeError, TypeError)
"""What pickle raises for a class that is not the one of its name: Hydra imports its plugins anew when it finds them."""


def keep_parse_trees() -> None:
    """Let OmegaConf reuse parse trees in this process; nothing is done where it no longer parses in this way.

    A parse tree is only read, so the same text can share one.
    """
    parse = getattr(base, "parse", None)
    if parse is not None and not hasattr(parse, "cache_info"):
        base.parse = lru_cache(DISTINCT)(parse)


def keep_config_files() -> None:
    """Let Hydra reuse the config files that it has parsed in this process, for as long as they are unchanged.

    Each composition gets a copy, since overrides are applied to the nodes of a file; unpickling makes one in a quarter
    of the time that `deepcopy` takes. A file that was written to has another time or size, and is read again; files in
    an installed package stay as they are.
    """
    load = ConfigRepository.load_config
    if hasattr(load, "kept"):
        return
    kept: dict[tuple[object, ...], bytes] = {}

    def load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return load(self, config_path)
        key: tuple[object, ...] = (source.provider, source.path, config_path)
        if source.scheme() == "file":
            file = os.path.realpath(os.path.join(source.path, source._normalize_file_name(config_path)))
            seen = os.stat(file)
            key = (source.provider, source.path, file, seen.st_mtime_ns, seen.st_size, seen.st_ino)
        if key not in kept:
            if len(kept) >= DISTINCT:
                kept.clear()
            loaded = load(self, config_path)
            if loaded is None:
                return None
            try:
                kept[key] = pickle.dumps(loaded)
            except NOT_PICKLED:
                return loaded
        result: ConfigResult = pickle.loads(kept[key])
        return result

    load_once.kept = kept  # type: ignore[attr-defined]
    ConfigRepository.load_config = load_once  # type: ignore[method-assign]


def copy_quickly_into_packages() -> None:
    """Let Hydra pickle the copy of a file's content that it puts into a package: `deepcopy` is much slower.

    A file may be included in several packages, so each of them needs a copy.
    """
    embed = getattr(ConfigLoaderImpl, "_embed_result_config", None)
    if embed is None or hasattr(embed, "quick"):
        return

    def embed_result(ret: ConfigResult, package_override: str | None) -> ConfigResult:
        package = ret.header["package"] if package_override is None else package_override
        if not package:
            return ret
        cfg = OmegaConf.create(flags={"no_deepcopy_set_nodes": True})
        OmegaConf.update(cfg, package, _copy(ret.config), merge=False)
        cfg._set_flag("no_deepcopy_set_nodes", None)
        ret = copy.copy(ret)
        ret.config = cfg
        return ret

    embed_result.quick = True  # type: ignore[attr-defined]
    ConfigLoaderImpl._embed_result_config = staticmethod(embed_result)  # type: ignore[method-assign]


def _copy(content: Container) -> Container:
    try:
        copied: Container = pickle.loads(pickle.dumps(content))
    except NOT_PICKLED:
        return copy.deepcopy(content)
    return copied


def tell_only_new_children_their_parent() -> None:
    """Let OmegaConf pass over the nodes that know their parent when it has merged a file into the whole config.

    It tells all nodes of the config anew after each of the forty files: a quarter of the time that composing takes.
    """
    if getattr(base.Box, "_re_parent", None) is None or hasattr(base.Box._re_parent, "only_new"):
        return

    def tell(parent: base.Box) -> None:
        content = parent.__dict__["_content"]
        children = (
            content.values() if isinstance(content, dict) else content if isinstance(content, list) else [content]
        )
        for child in children:
            if isinstance(child, base.Node):
                if child.__dict__["_parent"] is not parent:
                    child._set_parent(parent)
                if isinstance(child, base.Box):
                    tell(child)

    tell.only_new = True  # type: ignore[attr-defined]
    base.Box._re_parent = tell  # type: ignore[assignment, method-assign]


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
