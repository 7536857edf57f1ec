"""Check a composed config before anything heavy is imported: structure, values, options, spec fields."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from lantu.config.combinations import check_combinations
from lantu.config.composing import Composition
from lantu.config.explain import PLAIN, leaves
from lantu.config.missing_targets import missing
from lantu.config.ranges import as_typed, complaint
from lantu.config.signatures import Signature, accepts, in_words, signature_of
from lantu.config.spec_checks import FIELD, check_spec_fields
from lantu.config.structure_checks import check_augment, check_preset, check_structure
from lantu.config.value_checks import check_kinds, check_plain_values, check_ranges
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

SPECIAL_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
FILLED_IN = {"task"}
"""Nodes that the program completes: the task is given the network, the optimizer and the schedule."""


def check(composition: Composition, *, only_facts: bool = False) -> None:
    """Raise a `UserError` for the first thing in a config that cannot work.

    Checked are: nodes that are missing; spec fields that the model or task needs and the data do not provide; mandatory
    values left out; references that lead nowhere; for every `_target_` whose source can be read, names that it lacks,
    unknown and missing options and values of the wrong type; the range of every value that `ranges` lists; and
    combinations of options that cannot work together.

    Args:
        only_facts: all was checked before, and since then the spec has been filled in: only what may refer to it is
            checked.
    """
    cfg = composition.cfg
    plain: Any = OmegaConf.to_container(cfg, resolve=False)  # once: each trial of a sweep is checked
    written = leaves(plain)
    if only_facts:
        check_spec_fields(composition)
        check_ranges(cfg, plain, {name: value for name, value in written.items() if "${" in str(value)})
        check_combinations(cfg)
        return
    check_structure(composition)
    check_preset(composition)
    check_spec_fields(composition)
    _check_mandatory(composition, written)
    check_augment(composition)
    _check_interpolations(cfg, written)
    _check_special_keys(plain)
    for path, node in targets(plain):
        target = str(node["_target_"])
        if "${" not in target and (reason := missing(target)):
            raise UserError(f"`{path}._target_={target}`: {reason}")
        signature = signature_of(target)
        if signature is not None:
            _check_recipe(composition, path, node, signature)
            _check_options(path, node, signature)
    check_plain_values(composition)
    check_ranges(cfg, plain, written)
    check_kinds(composition, plain)
    check_combinations(cfg)


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_`, with its dotted path; resolved as far as it can be."""
    if not isinstance(node, PLAIN) and OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, dict):
        if node.get("_target_"):
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from targets(value, f"{path}.{index}")


def _check_mandatory(composition: Composition, written: dict[str, Any]) -> None:
    for key, value in written.items():
        if value != "???" or key.startswith("spec.") or key == "":
            continue
        group = key.split(".")[0]
        chosen = composition.choices.get(group)
        who = f"`{group}={chosen}`" if isinstance(chosen, str) else f"`{group}`"
        raise UserError(f"{who} needs a value for `{key}`: add `{key}=...` to the command.")


def _check_interpolations(cfg: DictConfig, written: dict[str, Any]) -> None:
    for key, value in written.items():
        if not (isinstance(value, str) and "${" in value) or FIELD.search(value):
            continue
        try:
            OmegaConf.select(cfg, key)
        except InterpolationKeyError as error:
            lost = re.search(r"'([^']+)' not found", str(error))
            name = lost.group(1) if lost else value
            raise UserError(
                f"`{key}` refers to `{value}`, but there is no `{name}`.{did_you_mean(name, written)}"
            ) from error
        except OmegaConfBaseException as error:
            raise UserError(f"`{key}` cannot be worked out: {str(error).splitlines()[0]}.") from error


def _check_special_keys(node: Any, path: str = "") -> None:
    """`_target_` is a dotted name, and `_partial_` true or false."""
    if not isinstance(node, dict):
        return
    target, partial = node.get("_target_", "a.b"), node.get("_partial_", False)
    if not (isinstance(target, str) and target):
        raise UserError(f"`{path}._target_={as_typed(target)}`: it takes the dotted name of a class or function.")
    if not isinstance(partial, bool):
        raise UserError(f"`{path}._partial_={as_typed(partial)}`: it takes true or false.")
    for key, value in node.items():
        _check_special_keys(value, f"{path}.{key}" if path else str(key))


def _check_recipe(composition: Composition, path: str, node: dict[str, Any], signature: Signature) -> None:
    """Say how to choose another file than a recipe's, whose options the new one lacks."""
    recipe, chosen = composition.choices.get("experiment"), composition.choices.get(path)
    if not recipe or signature.takes_any_keyword:
        return
    typed = [each.lstrip("+").partition("=")[0] for each in composition.overrides]
    lacking = [f"{path}.{key}" for key in node if key not in SPECIAL_KEYS and key not in signature.parameters]
    if path not in typed or not lacking or set(lacking) & set(typed):
        return
    name = str(node["_target_"]).rpartition(".")[2]
    options, left_out = " and no ".join(f"`{each}`" for each in lacking), " ".join(f"'~{each}'" for each in lacking)
    raise UserError(
        f"`{path}={chosen}`: {name} has no {options}, which `experiment={recipe}` sets. Add {left_out} to the command."
    )


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
            kind = in_words(signature.parameters[key])
            raise UserError(complaint(full, value) or f"`{full}={as_typed(value)}`: {name} takes {kind} for `{key}`.")
    if not node.get("_partial_") and not node.get("_args_"):
        for key in signature.required:
            if key not in given and path not in FILLED_IN:
                raise UserError(f"`{path}` ({name}) needs a value for `{key}`: add `+{path}.{key}=...` to the command.")
