"""Parse each interpolation and each config file once.

OmegaConf parses `${paths.root}` anew whenever it is resolved, with a grammar in pure Python: half of the time that
checking a config takes. Hydra reads and parses the forty files of a config anew whenever it is composed, copies each
of them, and for each builds a config of all choices so far, in which a defaults list may interpolate. OmegaConf visits
the whole config after each file, and copies it in a slow way. All that is avoided here.
"""

import copy
import os
import re
from collections import defaultdict
from functools import lru_cache
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import InputDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, ListConfig, base

from lantu.config.quick_nodes import VALUES

DISTINCT = 4096
"""Texts whose parse trees are kept, and config files; all of conf/ has some hundred of either."""

NAMED_NODE = re.compile(r"\$\{(\.*[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\}", re.ASCII)
"""The interpolation of a node by its dotted name."""


def keep_parse_trees() -> None:
    """Let OmegaConf reuse parse trees in this process; nothing is done where it no longer parses in this way.

    A parse tree is only read, so the same text can share one. Of a text such as `${model.width}` it gets the name.
    """
    parse = getattr(base, "parse", None)
    if parse is None or hasattr(parse, "cache_info"):
        return

    @lru_cache(DISTINCT)
    def parse_once(text: str, *options: Any, **more: Any) -> Any:
        tree = parse(text, *options, **more)
        tree.named = named[1] if (named := NAMED_NODE.fullmatch(text)) else None
        return tree

    base.parse = parse_once


def keep_config_files() -> None:
    """Let Hydra reuse the config files that it has parsed in this process, for as long as they are unchanged.

    Each composition gets a copy, since overrides are applied to the nodes of a file. A file that was written to has
    another time or size, and is read again; files in an installed package stay as they are.
    """
    load = ConfigRepository.load_config
    if hasattr(load, "kept"):
        return
    kept: dict[tuple[object, ...], ConfigResult] = {}

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
            kept[key] = loaded
        return copy.deepcopy(kept[key])

    load_once.kept = kept  # type: ignore[attr-defined]
    ConfigRepository.load_config = load_once  # type: ignore[method-assign]


def copy_nodes_quickly() -> None:
    """Let `deepcopy` of an OmegaConf node copy what it consists of, instead of going through each object in it.

    A run copies its config some twenty times: for every object that Hydra builds, for every part that is merged.
    Values and types are shared as in OmegaConf's own copies; the list of flags and the cache of resolvers are not.
    Nothing is done where nodes consist of something else.
    """
    parts = {"_metadata", "_parent", "_flags_cache", "_content"}
    if set(vars(DictConfig({}))) != parts or set(vars(ListConfig([]))) != parts or hasattr(base.Metadata, "quick"):
        return

    def copy_metadata(self: base.Metadata, memo: dict[int, object]) -> base.Metadata:
        copied = object.__new__(type(self))
        content = copied.__dict__
        content.update(self.__dict__)
        content["flags"] = dict(self.flags) if self.flags is not None else None
        content["resolver_cache"] = (
            copy.deepcopy(self.resolver_cache, memo) if self.resolver_cache else defaultdict(dict)
        )
        return copied

    def copy_node(self: base.Node, memo: dict[int, object]) -> base.Node:
        copied = object.__new__(type(self))
        parts = copied.__dict__
        parts.update(self.__dict__)
        parts["_metadata"] = copy_metadata(self._metadata, memo)
        parts["_flags_cache"] = None
        content = parts.get("_content")
        if type(content) is dict:
            parts["_content"] = {name: copy_child(child, copied, memo) for name, child in content.items()}
        elif type(content) is list:
            parts["_content"] = [copy_child(child, copied, memo) for child in content]
        return copied

    def copy_child(child: base.Node, parent: base.Node, memo: dict[int, object]) -> base.Node:
        copied = copy.deepcopy(child, memo)
        copied.__dict__["_parent"] = parent
        return copied

    base.Metadata.quick = True  # type: ignore[attr-defined]
    base.Metadata.__deepcopy__ = copy_metadata  # type: ignore[attr-defined]
    for node in (DictConfig, ListConfig, *VALUES):
        node.__deepcopy__ = copy_node  # type: ignore[assignment, method-assign]


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
