"""Which `spec` fields each model needs and each data set provides, read from the files without composing them.

Composing one config takes 0.15 s, and the catalogue asks about every model and every data set. What a file says of
`spec` stands in that file and in the files that its defaults list includes. A file whose defaults list has a form that
is not read here is composed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra

from lantu.config.composing import compose, config_search
from lantu.config.explain import options

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _NeedsComposingError(Exception):
    """The file uses a form of Hydra's that is not read here."""


@dataclass(frozen=True)
class _Include:
    """One entry of a defaults list: `/GROUP@PACKAGE: NAMES`."""

    group: str
    package: str
    names: list[str]


def config_file(group: str, name: str) -> Path | None:
    """The file that `group=name` chooses, the user's before ours; None where it is no plain file."""
    for source in GlobalHydra.instance().config_loader().get_sources():
        file = Path(source.path) / group / f"{name}.yaml"
        if source.scheme() == "file" and file.is_file():
            return file
    return None


def model_nodes() -> dict[str, Any]:
    """The `model` node of every model, interpolations unresolved; numbers such as 1e-5 may be given as text."""

    def node_of(name: str) -> Any:
        try:
            return _node("model", name)
        except _NeedsComposingError:
            return compose(f"model={name}").cfg.model

    with config_search():
        return {name: node_of(name) for name in options("model")}


def tasks_of_models() -> dict[str, Any]:
    """The `task` node of every model whose file chooses a task, interpolations unresolved."""
    chooses = "override /task@_global_.task"

    def chosen(name: str) -> str | None:
        file = config_file("model", name)
        text = "" if file is None else file.read_text(encoding="utf-8")
        if chooses not in text:
            return None
        defaults = (yaml.load(text, Loader=_SafeLoader) or {}).get("defaults") or []
        return next((each[chooses] for each in defaults if isinstance(each, dict) and chooses in each), None)

    def node_of(name: str) -> Any:
        try:
            task = chosen(name)
            return _node("task", task) if task else {}
        except (_NeedsComposingError, yaml.YAMLError):
            return compose(f"model={name}").cfg.task

    with config_search():
        return {name: node for name in options("model") if (node := node_of(name))}


def data_fields() -> dict[str, set[str]]:
    """The names of the `spec` fields of every data set."""

    def fields_of(name: str) -> set[str]:
        try:
            return set(_spec("data", name))
        except _NeedsComposingError:
            return set(compose(f"data={name}").cfg.get("spec") or {})

    with config_search():
        return {name: fields_of(name) for name in options("data")}


def _node(group: str, name: str) -> dict[str, Any]:
    """The content of a file over that of the files which it includes in its own node."""
    content, includes = _read(group, name)
    merged: dict[str, Any] = {}
    for each in includes:
        if each.package.startswith("_global_."):
            continue
        for included in each.names:
            node = _node(each.group, included)
            for key in reversed([part for part in each.package.split(".") if part not in ("", "_here_")]):
                node = {key: node}
            merged = _merge(merged, node)
    return _merge(merged, content)


def _spec(group: str, name: str) -> dict[str, Any]:
    """What a file, and the files which it includes, put into the top-level `spec` node."""
    merged: dict[str, Any] = {}
    for each in _read(group, name)[1]:
        for included in each.names:
            merged |= _node(each.group, included) if each.package == "_global_.spec" else _spec(each.group, included)
    return merged


def _read(group: str, name: str) -> tuple[dict[str, Any], list[_Include]]:
    """A file's own content and what it includes."""
    file = config_file(group, name)
    if file is None:
        raise _NeedsComposingError
    text = file.read_text(encoding="utf-8")
    try:
        content = yaml.load(text, Loader=_SafeLoader) or {}
    except yaml.YAMLError:
        raise _NeedsComposingError from None  # composing says what is wrong with it
    if "@package" in text or not isinstance(content, dict):
        raise _NeedsComposingError
    return content, list(_includes(group, content.pop("defaults", None) or []))


def _includes(group: str, defaults: list[Any]) -> Iterator[_Include]:
    for position, each in enumerate(defaults):
        match each:
            case "_self_" if position == len(defaults) - 1:
                continue
            case str() if each != "_self_" and not set(each) & set("/@ $"):
                yield _Include(group, "", [each])
            case dict() if len(each) == 1:
                key, chosen = next((str(key), value) for key, value in each.items())
                if key.startswith("override /") and "_here_" not in key:
                    continue  # chooses for another node
                other, _, package = key.partition("@")
                names = chosen if isinstance(chosen, list) else [chosen]
                plain = all(isinstance(name, str) and "$" not in name for name in names)
                if not other.startswith("/") or package in ("", "_global_") or not plain:
                    raise _NeedsComposingError
                if package.startswith("_global_.spec."):
                    raise _NeedsComposingError
                yield _Include(other[1:], package, names)
            case _:
                raise _NeedsComposingError


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _merge(below[key], above[key])
    return merged
