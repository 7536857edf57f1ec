"""Turn Hydra's exceptions about overrides into sentences for the person who typed them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra import compose as hydra_compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lantu.errors import UserError
from lantu.suggestions import did_you_mean

CHOSEN_AS_LISTS = {"callbacks": "default", "logger": "mlflow"}
"""Groups of which a run takes several files, and what it takes unless told otherwise."""


@contextmanager
def readable_hydra_errors(overrides: list[str], command: str) -> Iterator[None]:
    """Re-raise what goes wrong while composing as a `UserError`."""
    try:
        yield
    except OverrideParseException as error:
        raise UserError(_unreadable(error)) from error
    except MissingConfigException as error:
        raise UserError(_missing_file(error, overrides)) from error
    except YAMLError as error:
        raise UserError(_broken_file(error)) from error
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides, command)) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:  # Hydra's own, for `data=null`
        last = next((each for each in reversed(overrides) if each.endswith("=null")), " ".join(overrides)[:200])
        raise UserError(
            f"`{last}` cannot be composed: {str(error).splitlines()[0] if str(error) else error!r}."
        ) from error


def options(group: str) -> list[str]:
    """The files that a config group offers, by name."""
    return GlobalHydra.instance().config_loader().get_group_options(group, results_filter=ObjectType.CONFIG)


def groups() -> list[str]:
    """The config groups that an override can choose from."""
    return GlobalHydra.instance().config_loader().get_group_options("", results_filter=ObjectType.GROUP)


PLAIN = (str, int, float, dict, list, type(None))
"""Of what a config in plain values consists."""


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a config by its dotted name, interpolations unresolved; empty containers are leaves."""
    found: dict[str, Any] = {}
    _collect(node, prefix, found)
    return found


def _collect(node: Any, path: str, found: dict[str, Any]) -> None:
    if not isinstance(node, PLAIN) and OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict) and node:
        for key, value in node.items():
            _collect(value, f"{path}.{key}" if path else str(key), found)
    else:
        found[path] = node


def _broken_file(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else "A config file"
    return f"{where} is no valid YAML: {getattr(error, 'problem', None) or error}."


def _unreadable(error: OverrideParseException) -> str:
    key, _, value = error.override.partition("=")
    if value.startswith("~/"):
        return f"`{error.override}`: the shell does not expand `~` behind `=`. Type `{key}=$HOME{value[1:]}`."
    reason = str(error).splitlines()[0]
    return (
        f"The override `{error.override}` cannot be read ({reason}). Overrides look like `optimizer.lr=0.001` or "
        f"`model=cnn`; a value with spaces, brackets or commas needs quotes: `'name=\"my run\"'`."
    )


def _missing_file(error: MissingConfigException, overrides: list[str]) -> str:
    missing = str(error.missing_cfg_file)
    group, _, name = missing.rpartition("/")
    group = group.lstrip("/")
    if not group:
        return f"There is no config `{missing}`."
    known = options(group)
    override = next((each for each in overrides if each.lstrip("+").startswith(f"{group}=")), f"{group}={name}")
    near = did_you_mean(name, known)
    return f"`{override}`: there is no {group} called `{name}`.{near} There are: {', '.join(known)}."


def _explain(error: Exception, overrides: list[str], command: str) -> str:
    lost = re.match(r"Could not (?:override|delete) '([\w/]+)'", str(error))
    if lost and lost[1] in groups() and "No match in the defaults list" in str(error):
        line = next((each for each in overrides if each.lstrip("~").partition("=")[0] == lost[1]), lost[1])
        return f"`{line}`: `lantu {command}` does not choose from the group `{lost[1]}`. Leave it out."
    for override in _parsed(overrides):
        if override.is_sweep_override():
            return (
                f"`{override.input_line}` names several values: add `-m` to run each of them, or type a list as "
                f"`{override.key_or_group}=[first,second]`."
            )
        message = _unknown_key(override, overrides, command)
        if message:
            return message
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _parsed(overrides: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(overrides)


def _unknown_key(override: Override, overrides: list[str], command: str) -> str | None:
    """What to say of an override whose key does not exist; None when it does."""
    key = override.key_or_group
    line = override.input_line
    if override.is_add() or override.is_force_add():
        return None
    if "/" in key or ("." not in key and key in groups()):
        return None
    base = _base_config(overrides, command)
    known = [name for name in leaves(base) if not name.rpartition(".")[2].startswith("_")]
    inner = {name.rpartition(".")[0] for name in known}
    if key in known or key in inner or OmegaConf.select(base, key) is not None:
        return None
    group, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if group in CHOSEN_AS_LISTS and name not in base.get(group, {}) and name in options(group):
        return f"`{line}`: this run has no {group} `{name}`: add `{group}=[{CHOSEN_AS_LISTS[group]},{name}]`."
    hint = did_you_mean(key, [*known, *groups()] if "." not in key else known)
    parent, siblings = _nearest_parent(base, key)
    if not hint and siblings:
        hint = f" `{parent}` has: {', '.join(siblings)}."
    elif not hint:
        hint = f" The groups are: {', '.join(sorted(groups()))}."
    how_to_add = "" if override.is_delete() else f" To add a new key, type `+{line}`."
    return f"`{line}`: there is no option `{key}`.{hint}{how_to_add}"


def _nearest_parent(base: DictConfig, key: str) -> tuple[str, list[str]]:
    """The nearest node above a key that the config has, and the names in it; ("", []) where there is none."""
    parent = key.rpartition(".")[0]
    while parent:
        node = OmegaConf.select(base, parent)
        if OmegaConf.is_dict(node):
            return parent, sorted(str(name) for name in node if not str(name).startswith("_"))
        parent = parent.rpartition(".")[0]
    return "", []


def _base_config(overrides: list[str], command: str) -> DictConfig:
    """What the overrides that choose files compose to, without those that set values."""
    choosing = [
        each.input_line
        for each in _parsed(overrides)
        if (each.key_or_group in groups() or "/" in each.key_or_group) and each.input_line
    ]
    hydra = any(each.is_hydra_override() for each in _parsed(overrides))
    while True:
        try:
            return hydra_compose(command, choosing, return_hydra_config=hydra)
        except (HydraException, OmegaConfBaseException):
            if not choosing:
                raise
            choosing.pop()  # the earlier ones are kept, so that an option of theirs is not called unknown
