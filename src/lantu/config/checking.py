"""Check a composed config before anything heavy is imported: structure, values, options, spec fields."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from lantu.config.combinations import check_combinations
from lantu.config.composing import Composition, compose, config_search
from lantu.config.explain import groups as every_group
from lantu.config.explain import leaves, options
from lantu.config.locations import user_confs
from lantu.config.missing_targets import missing
from lantu.config.ranges import as_typed, complaint, required_kind, rule_for
from lantu.config.signatures import Signature, accepts, in_words, signature_of
from lantu.config.spec_fields import data_fields, model_nodes, tasks_of_models
from lantu.config.typed_paths import check_path
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

SPECIAL_KEYS = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_"}
_FACT = re.compile(r"\$\{spec\.(\w+)[^}]*\}")


def check(composition: Composition) -> None:
    """Raise a `UserError` for the first thing in a config that cannot work.

    Checked are: nodes that are missing; spec fields that the model or task needs and the data do not provide; mandatory
    values left out; references that lead nowhere; for every `_target_` whose source can be read, names that it lacks,
    unknown and missing options and values of the wrong type; the range of every value that `ranges` lists; and
    combinations of options that cannot work together.
    """
    cfg = composition.cfg
    _check_structure(composition)
    _check_preset(composition)
    _check_facts(composition)
    _check_mandatory(composition)
    _check_augment(composition)
    _check_interpolations(cfg)
    _check_special_keys(OmegaConf.to_container(cfg, resolve=False))
    for path, node in targets(cfg):
        target = str(node["_target_"])
        if "${" not in target and (reason := missing(target)):
            raise UserError(f"`{path}._target_={target}`: {reason}")
        signature = signature_of(target)
        if signature is not None:
            _check_options(path, node, signature)
    _check_plain_values(composition)
    _check_ranges(cfg)
    _check_kinds(composition)
    check_combinations(cfg)


def facts_asked(node: Any) -> set[str]:
    """The names of the spec fields (`${spec.NAME}`) that a part of a config refers to."""
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


def _check_structure(composition: Composition) -> None:
    """The nodes that are read by name are there, and are mappings."""
    cfg = composition.cfg
    if "trainer" not in composition.choices:  # evaluate, predict, compare
        _check_mappings(cfg, ("paths", "business", "economics"))
        return
    for name in ("data", "model", "task", "optimizer", "trainer"):
        if not OmegaConf.is_dict(cfg.get(name)) or not cfg[name]:
            with config_search():
                known = ", ".join(options(name))
            raise UserError(f"a run needs `{name}`, which this command leaves out. Choose one: `{name}=...` ({known}).")
    for name in NEEDED:
        parent, _, key = name.rpartition(".")
        if key not in (OmegaConf.select(cfg, parent) if parent else cfg):
            raise UserError(f"a run needs `{name}`, which this command removes: leave out `~{name}`.")
        if not parent:
            _check_mappings(cfg, (name,) if name in MAPPINGS else ())
    _check_mappings(cfg, ("sweep.budget", "economics.usd_per_device_hour"))
    _check_mappings(cfg, MAY_BE_EMPTY, may_be_null=True)
    for group in ("callbacks", "logger"):
        nodes: Any = OmegaConf.to_container(cfg[group], resolve=False) if cfg.get(group) else {}
        for key, node in nodes.items():
            if node is not None and not isinstance(node, dict):
                raise UserError(f"`{group}.{key}={as_typed(node)}`: it takes a mapping with `_target_`, or null.")


MAPPINGS = ("paths", "budget", "sweep", "economics", "tags")
MAY_BE_EMPTY = (
    "callbacks",
    "logger",
    "init",
    "peft",
    "privacy",
    "scheduler",
    "spec",
    "calibration",
    "business",
    "fairness",
)
NEEDED = (
    *MAPPINGS,
    *("name", "experiment_name", "resume"),
    *(f"paths.{name}" for name in ("root", "store", "tracking_uri", "mirror", "cache", "run")),
)
"""What a run reads by name, so that no command can remove it; the switches and numbers at the top besides."""


def _check_mappings(cfg: DictConfig, names: Iterable[str], *, may_be_null: bool = False) -> None:
    for name in names:
        parent, _, key = name.rpartition(".")
        holder = OmegaConf.select(cfg, parent) if parent else cfg
        if not OmegaConf.is_dict(holder) or key not in holder or (holder[key] is None and may_be_null):
            continue
        if not OmegaConf.is_dict(holder[key]):
            raise UserError(
                f"`{name}={as_typed(holder[key])}`: `{name}` is a mapping; set one of its parts, `{name}.NAME=...`."
            )


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


def _check_ranges(cfg: DictConfig) -> None:
    plain = OmegaConf.to_container(cfg, resolve=False)
    for path, value in leaves(plain).items():
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


@lru_cache(maxsize=8)
def _groups(_: tuple[Path, ...]) -> frozenset[str]:
    """The config groups, with those of the user's folders."""
    with config_search():
        return frozenset(every_group())


def _check_kinds(composition: Composition) -> None:
    """A value that was typed for an option without a rule keeps the kind of the default."""
    typed = [each for each in composition.overrides if not each.startswith(("+", "~", "hydra"))]
    groups = _groups(tuple(user_confs()))
    setting = [each for each in typed if "/" not in each.partition("=")[0] and each.partition("=")[0] not in groups]
    if not setting:
        return
    plain = OmegaConf.to_container(composition.cfg, resolve=False)
    defaults = _defaults(tuple(each for each in composition.overrides if each not in setting), tuple(user_confs()))
    for key in (each.partition("=")[0] for each in setting):
        value = _at(plain, key)
        if key not in defaults or not _is_ours(plain, key) or (isinstance(value, str) and "${" in value):
            continue
        if isinstance(value, dict) and value.get("_target_"):
            continue
        check_path(key, value, default=defaults[key], mirror=OmegaConf.select(composition.cfg, "paths.mirror"))
        wrong = complaint(key, value)
        if rule_for(key) is None and (instead := required_kind(defaults[key], value)) is not None:
            wrong = f"`{key}={as_typed(value)}`: `{key}` takes {instead}."
        if wrong is not None:
            raise UserError(wrong)


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


OUR_PACKAGES = ("lantu", "datetime", "pytorch_lightning", "timm", "torch", "torchvision", "transformers")


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
        instead = f"Data sets that provide {what}: {', '.join(having)}." if having else f"No data set provides {what}."
    raise UserError(
        f"{'the default ' if default else ''}`{part}={asks}` needs {lacking}, which `data={data}` does not provide. "
        f"{instead}"
    )


def models_for(facts: set[str]) -> list[str]:
    """The models that need no other spec fields than these."""
    return [name for name, asked in facts_of_models().items() if asked <= facts]


def facts_of_models() -> dict[str, set[str]]:
    """The spec fields that each model needs, and the task that its file chooses."""
    tasks = tasks_of_models()
    return {name: facts_asked(node) | facts_asked(tasks.get(name, {})) for name, node in model_nodes().items()}


def data_with(facts: set[str]) -> list[str]:
    """The data sets that provide all of some spec fields."""
    return [name for name, known in data_fields().items() if facts <= known]


def _check_mandatory(composition: Composition) -> None:
    cfg = composition.cfg
    for key, value in leaves(cfg).items():
        if value != "???" or key.startswith("spec.") or key == "":
            continue
        group = key.split(".")[0]
        chosen = composition.choices.get(group)
        who = f"`{group}={chosen}`" if isinstance(chosen, str) else f"`{group}`"
        raise UserError(f"{who} needs a value for `{key}`: add `{key}=...` to the command.")


def _check_preset(composition: Composition) -> None:
    """Refuse a size for networks that have no such options."""
    preset, target = composition.choices.get("preset"), str((composition.cfg.get("model") or {}).get("_target_"))
    if preset and target != "lantu.models.GPT":
        raise UserError(
            f"`preset={preset}` is a size for `model=gpt`, and `model={composition.choices.get('model')}` is another "
            f"network: add `model=gpt`, or leave the preset out."
        )


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
            kind = in_words(signature.parameters[key])
            raise UserError(complaint(full, value) or f"`{full}={as_typed(value)}`: {name} takes {kind} for `{key}`.")
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
