"""Check a composed config before anything heavy is imported: facts, mandatory values, options and their types."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from lantu.config.composing import Composition, compose
from lantu.config.explain import leaves
from lantu.config.locations import user_confs
from lantu.config.missing_targets import missing
from lantu.config.signatures import Signature, accepts, signature_of, spelled
from lantu.config.spec_fields import data_fields, model_nodes
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

SPECIAL_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
_FACT = re.compile(r"\$\{spec\.(\w+)[^}]*\}")


def check(composition: Composition) -> None:
    """Raise a `UserError` for the first thing in a config that cannot work.

    Checked are: facts that the model or task needs and the data do not have; mandatory values left out;
    interpolations that lead nowhere; and, for every `_target_` whose source can be read, names that it lacks, unknown
    and missing options, and values of the wrong type.
    """
    cfg = composition.cfg
    _check_facts(composition)
    _check_mandatory(composition)
    _check_augment(composition)
    _check_interpolations(cfg)
    for path, node in targets(cfg):
        target = str(node["_target_"])
        if "${" not in target and (reason := missing(target)):
            raise UserError(f"`{path}._target_={target}`: {reason}")
        signature = signature_of(target)
        if signature is not None:
            _check_options(path, node, signature)
    _check_plain_values(composition)


def facts_asked(node: Any) -> set[str]:
    """The names of the facts (`${spec.NAME}`) that a part of a config asks for."""
    return {name for value in leaves(node).values() if isinstance(value, str) for name in _FACT.findall(value)}


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_`, with its dotted path; resolved as far as it can be."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        if node.get("_target_"):
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}.{index}")


def _check_facts(composition: Composition) -> None:
    cfg = composition.cfg
    if "spec" not in cfg:
        return
    known = set(cfg.spec)
    for part in ("model", "task"):
        missing = facts_asked(cfg.get(part)) - known
        if missing:
            _refuse(composition, part, missing)


def _refuse(composition: Composition, part: str, missing: set[str]) -> None:
    asks, data = composition.choices.get(part), composition.choices.get("data")
    lacking = " and ".join(f"`{name}`" for name in sorted(missing))
    default = part == "model" and not any(each.startswith(("model=", "experiment=")) for each in composition.overrides)
    if default:  # who brings data and names no model is helped by the models that fit
        fitting = models_for(set(composition.cfg.spec))
        instead = f"Add a model that fits these data, such as {' or '.join(f'`model={name}`' for name in fitting)}."
    else:
        having = data_with(missing)
        what = "it" if len(missing) == 1 else "them"
        instead = f"Data sets that have {what}: {', '.join(having)}." if having else f"No data set has {what}."
    raise UserError(
        f"{'the default ' if default else ''}`{part}={asks}` needs {lacking} of the data, which `data={data}` does not "
        f"have. {instead}"
    )


def models_for(facts: set[str]) -> list[str]:
    """The models that ask for no other facts than these."""
    return [name for name, asked in facts_of_models().items() if asked <= facts]


def facts_of_models() -> dict[str, set[str]]:
    """What every model asks of the data."""
    return {name: facts_asked(node) for name, node in model_nodes().items()}


def data_with(facts: set[str]) -> list[str]:
    """The data sets whose spec has all of some facts."""
    return [name for name, known in data_fields().items() if facts <= known]


def _check_mandatory(composition: Composition) -> None:
    cfg = composition.cfg
    for key, value in leaves(cfg).items():
        if value != "???" or key.startswith("spec."):
            continue
        group = key.split(".")[0]
        chosen = composition.choices.get(group)
        who = f"`{group}={chosen}`" if isinstance(chosen, str) else f"`{group}`"
        raise UserError(f"{who} needs a value for `{key}`: add `{key}=...` to the command.")


def _check_augment(composition: Composition) -> None:
    """Refuse augmentation of data that take none: it would be asked for and not done."""
    cfg = composition.cfg
    if cfg.get("augment") and "augment" not in (cfg.get("data") or {}):
        chosen, data = composition.choices.get("augment"), composition.choices.get("data")
        raise UserError(
            f"`augment={chosen}` changes training pictures, and `data={data}` takes no augmentation. Leave it out, or "
            "add `augment: ${augment}` to the config of data that do."
        )


def _check_interpolations(cfg: DictConfig) -> None:
    for key, value in leaves(cfg).items():
        if not (isinstance(value, str) and "${" in value) or _FACT.search(value):
            continue
        try:
            OmegaConf.select(cfg, key)
        except InterpolationKeyError as error:
            lost = re.search(r"'([^']+)' not found", str(error))
            name = lost.group(1) if lost else value
            raise UserError(
                f"`{key}` refers to `{value}`, but there is no `{name}`.{did_you_mean(name, leaves(cfg))}"
            ) from error
        except OmegaConfBaseException as error:
            raise UserError(f"`{key}` cannot be worked out: {str(error).splitlines()[0]}.") from error


def _check_options(path: str, node: dict[str, Any], signature: Signature) -> None:
    name = str(node["_target_"]).rpartition(".")[2]
    given = {key: value for key, value in node.items() if key not in SPECIAL_KEYS}
    for key, value in given.items():
        full = f"{path}.{key}" if path else key
        if key not in signature.parameters:
            if signature.takes_any_keyword:
                continue
            known = [f"{path}.{each}" if path else each for each in signature.parameters]
            raise UserError(f"`{full}`: {name} has no option `{key}`.{did_you_mean(full, known)}")
        interpolated = isinstance(value, str) and "${" in value
        nested = isinstance(value, dict) and "_target_" in value
        if not interpolated and not nested and not accepts(signature.parameters[key], value):
            kind = spelled(signature.parameters[key])
            raise UserError(f"`{full}={value}`: {name} takes {kind} for `{key}`, and {value!r} is not that.")
    if not node.get("_partial_") and not node.get("_args_"):
        for key in signature.required:
            if key not in given and path not in FILLED_IN:
                raise UserError(f"`{path}` ({name}) needs a value for `{key}`: add `+{path}.{key}=...` to the command.")


FILLED_IN = {"task"}
"""Nodes that the program completes: the task is given the network, the optimizer and the schedule."""


def _check_plain_values(composition: Composition) -> None:
    """A value typed for an option of ours that is no callable's (seed, test, ...) keeps the default's kind."""
    cfg = composition.cfg
    for key, default in _plain_defaults(tuple(user_confs())).items():
        value: Any = cfg.get(key) if not OmegaConf.is_missing(cfg, key) else None
        if value is not None and type(value) is not type(default):
            kind = "true or false" if isinstance(default, bool) else "a whole number"
            raise UserError(f"`{key}={value}`: `{key}` takes {kind}, and {value!r} is not that.")


@lru_cache
def _plain_defaults(confs: tuple[Path, ...]) -> dict[str, bool | int]:
    """The switches and whole numbers at the top of the config that these folders and ours make."""
    return {str(key): default for key, default in compose().cfg.items() if isinstance(default, bool | int)}
