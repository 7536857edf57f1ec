"""Let OmegaConf do in one pass what it does by a chain of checks for each value: plain values, look-ups, and `${a.b}`.

A run converts its config some thirty times, for every object that it builds, and resolves some hundred interpolations.
Results and errors are OmegaConf's own, whose code is called for all that is not common.
"""

from contextlib import suppress
from typing import Any

from omegaconf import (
    AnyNode,
    BooleanNode,
    DictConfig,
    FloatNode,
    IntegerNode,
    ListConfig,
    SCMode,
    StringNode,
    _impl,
    base,
)
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import InterpolationResolutionError

VALUES = (AnyNode, StringNode, IntegerNode, FloatNode, BooleanNode)
"""The nodes that hold one plain value."""


def convert_nodes_quickly() -> None:
    """Let `OmegaConf.to_container` read the values of nodes; nothing is done where it no longer works in this way."""
    convert = getattr(BaseContainer, "_to_content", None)
    if convert is None or hasattr(convert, "replaces") or "_val" not in vars(AnyNode(1)):
        return

    def converted(
        conf: base.Container,
        resolve: bool,
        throw_on_missing: bool,
        enum_to_str: bool = False,
        structured_config_mode: SCMode = SCMode.DICT,
    ) -> Any:
        content = vars(conf)["_content"]
        common = not throw_on_missing and not enum_to_str and structured_config_mode is SCMode.DICT
        if common and type(content) is dict:
            return {key: value_of(conf, key, node, resolve) for key, node in content.items()}
        if common and type(content) is list:
            return [value_of(conf, index, node, resolve) for index, node in enumerate(content)]
        return convert(conf, resolve, throw_on_missing, enum_to_str, structured_config_mode)

    def value_of(conf: base.Container, key: Any, node: Any, resolve: bool) -> Any:
        kind = type(node)
        if kind in VALUES:
            value = node._val
            if not resolve or type(value) is not str or "${" not in value:
                return value
        elif kind is not DictConfig and kind is not ListConfig:
            node = conf._get_child(key)
        if resolve:
            try:
                node = node._dereference_node()
            except InterpolationResolutionError as error:
                conf._format_and_raise(key=key, value=None, cause=error)
        return converted(node, resolve, False) if isinstance(node, base.Container) else node._value()

    converted.replaces = convert  # type: ignore[attr-defined]
    BaseContainer._to_content = staticmethod(converted)  # type: ignore[method-assign]


def look_up_quickly() -> None:
    """Let OmegaConf find a value that is there and is no interpolation without asking for flags, types and the rest."""
    get, select = getattr(DictConfig, "_get_impl", None), getattr(_impl, "select_value", None)
    if get is None or select is None or hasattr(get, "replaces") or "_val" not in vars(AnyNode(1)):
        return

    def got(self: DictConfig, key: Any, default_value: Any, validate_key: bool = True) -> Any:
        content = vars(self)["_content"]
        node = content.get(key) if type(content) is dict and type(key) is str else None
        return _value(node) if _is_plain(node) else get(self, key, default_value, validate_key)

    def selected(cfg: base.Container, key: str, **options: Any) -> Any:
        node = _node(cfg, key)
        return _value(node) if node is not None else select(cfg, key, **options)

    got.replaces, selected.replaces = get, select  # type: ignore[attr-defined]
    DictConfig._get_impl = got  # type: ignore[method-assign]
    _impl.select_value = selected


def _node(start: Any, name: str) -> Any:
    """The node at a dotted name below another one, if its value is plain; None: OmegaConf knows."""
    node = start
    for part in name.split("."):
        content = vars(node)["_content"] if type(node) is DictConfig else None
        if type(content) is not dict:
            return None
        node = content.get(part)
    return node if _is_plain(node) else None


def _is_plain(node: Any) -> bool:
    """Whether a node has a value that is neither missing nor an interpolation."""
    kind = type(node)
    if kind in VALUES:
        value = node._val
        return type(value) is not str or ("${" not in value and value != "???")
    return (kind is DictConfig or kind is ListConfig) and type(vars(node)["_content"]) in (dict, list)


def _value(node: Any) -> Any:
    return node._val if type(node) in VALUES else node


def resolve_names_quickly() -> None:
    """Let OmegaConf look up a node by its name, if a text is no more than that, without visiting its parse tree."""
    resolve = getattr(base.Container, "resolve_parse_tree", None)
    if resolve is None or hasattr(resolve, "replaces") or not hasattr(base.Container, "_resolve_node_interpolation"):
        return

    def resolved(
        self: base.Container, parse_tree: Any, node: base.Node, memo: set[int] | None = None, key: Any = None
    ) -> Any:
        if (name := getattr(parse_tree, "named", None)) is not None:
            found = _node(self._get_root(), name)
            if found is not None and type(found) in VALUES:
                return found
            with suppress(Exception):  # which the other way raises again
                return self._resolve_node_interpolation(inter_key=name, memo=memo)
        return resolve(self, parse_tree, node, memo, key)

    resolved.replaces = resolve  # type: ignore[attr-defined]
    base.Container.resolve_parse_tree = resolved  # type: ignore[method-assign]
