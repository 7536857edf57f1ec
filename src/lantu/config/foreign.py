"""A config from elsewhere (a checkpoint, a folder, an MLflow server) is data: check it whole before anything is built.

Hydra calls whatever a config names, `os.system` as well, and OmegaConf works out what `${...}` refers to while it
builds. So a stored config must be plain values without references, and each `_target_` must be in `allowed_targets.py`.
`closed` returns a copy that holds exactly what was checked.
"""

import importlib
import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from lantu.config.allowed_targets import TRANSFORMERS, allowed
from lantu.errors import UserError
from lantu.escaping import for_terminal

BUILT = ("data", "model", "task", "peft", "calibration", "business")
"""The parts that rebuilding a run builds; the rest of a config is only read."""
_SPECIAL = {"_target_", "_partial_", "_convert_", "_args_"}
_CONVERT = ("none", "partial", "object", "all")
_DEPTH = 64

_NAME = re.compile(r"[\w.-]{1,200}(/[\w.-]{1,200})?")
"""A name on a hub: `owner/name`, or a plain word."""
_LOADS = re.compile(
    r"(^|_)(trust_remote_code|auto_map|attn_implementation|experts_implementation|backbone\w*|quantization_config|"
    r"name_or_path|checkpoint(s|_\w+)?|state_dict|weights|weights_backbone|weights_only|cache_dir|local_dir|pickle\w*|"
    r"pretrained_\w+|pretrainedcfg|use_kernels|kernel_config|custom_load|hub_\w+|revision|scriptable|\w*_path|"
    r"path|url|uri|file|filename|\w*_file|\w*_url)$"
)
"""Options that make a network's constructor load something."""
_OPTIONS = {
    "lantu.data.hub": {"path": "name", "name": "text", "revision": "text", "mirror": "text", "mirror_folder": "below",
                       "elsewhere": "text", "parts": "flag"},
    "lantu.data.rdatasets": {"package": "word", "item": "word", "mirror": "text", "mirror_file": "below"},
    "lantu.data.mirror_table": {"file": "below", "mirror": "text", "elsewhere": "text"},
    "lantu.data.sklearn": {"name": "word"},
    "lantu.data.statsmodels": {"name": "word"},
    "lantu.data.table_file": {"path": "text", "name": "text", "as_text": "flag"},
    "lantu.data.image_folder": {"path": "text"},
    "lantu.data.image_parquet": {"path": "text", "image": "text"},
    "lantu.data.image_table": {"path": "text", "folder": "text", "file": "text", "part": "text"},
    "lantu.data.media_table": {"path": "text", "image": "text", "audio": "text", "folder": "text", "part": "text"},
    "lantu.data.webdataset": {"path": "text"},
    "lantu.data.text_files": {"path": "text", "name": "text"},
    "lantu.models.TorchvisionDetector": {"backbone": "word"},
    "lantu.models.gpt2": {"folder": "text"},
    "timm.create_model": {"model_name": "word"},
    "torchvision.models.get_model": {"name": "word"},
}  # fmt: skip
"""The options of callables that read something, and the kind of text that each may be."""
_MAKERS = {"lantu.data.joined_recordings", "lantu.data.spoken_sentences"}
"""Sources that start a program to make recordings: for a stored config they read what is there, and make nothing."""


def closed(config: Any) -> dict[str, Any]:
    """A stored config as plain values, fit to be built; options that would fetch published weights are emptied.

    Raises:
        UserError: it refers to something (`${...}`), or names something that is not in `allowed_targets.py`; the
            message says where.
    """
    if not isinstance(config, dict):
        raise UserError("The run's config is not a mapping, so it was not loaded.")
    plain = _plain(config, "", 0)
    if isinstance(plain.get("data"), dict):
        plain["data"].pop("augment", None)  # changes training pictures alone, and nothing is trained
    for part in BUILT:
        plain[part] = _checked(plain.get(part) or {}, part, (), _trusted_packages())
    return plain


def _plain(value: Any, path: str, depth: int) -> Any:
    """A copy that holds nothing but mappings, lists, numbers and text without references."""
    if depth > _DEPTH:
        raise UserError(f"The run's config is nested too deeply at `{path[:80]}`, so it was not loaded.")
    if isinstance(value, dict):
        if not all(isinstance(key, str | int) for key in value):
            raise UserError(f"The run's config has a key at `{path}` that is not text, so it was not loaded.")
        for key in value:
            _plain(key, f"{path}.{key}", depth + 1)
        return {key: _plain(each, f"{path}.{key}".lstrip("."), depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, f"{path}.{index}", depth + 1) for index, each in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        raise UserError(
            f"The run's config refers to `{_shown(value)}` at `{path}`. A stored config holds values, not references, "
            "so it was not loaded."
        )
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise UserError(f"The run's config holds a {type(value).__name__} at `{path}`, so it was not loaded.")


def _checked(node: Any, part: str, path: tuple[str, ...], users: tuple[str, ...]) -> Any:
    """The node, once everything in it may be built."""
    where = ".".join((part, *path))
    if isinstance(node, list):
        return [_checked(each, part, (*path, str(index)), users) for index, each in enumerate(node)]
    if not isinstance(node, dict):
        return node
    target = node.get("_target_")
    if target is None and any(key in node for key in ("_partial_", "_args_", "_recursive_")):
        raise UserError(f"The run's config has `_partial_` or `_args_` at `{where}` without a `_target_`.")
    trusted_by_user = isinstance(target, str) and _is_users(target, users)
    if target is not None and not trusted_by_user:
        if not isinstance(target, str) or target not in allowed(part, path):
            raise UserError(_refusal(str(target), where, part))
        node = _limited(target, node, where)
    elif part in ("model", "peft") and not trusted_by_user:
        _refuse_loading(node, where)
    if part == "data":
        _refuse_addresses(node, where)
    kind = node.get("model_type")
    if part == "model" and kind is not None and kind not in TRANSFORMERS and "transformers" not in users:
        raise UserError(
            f"The run's config names the transformers model `{_shown(str(kind))}` at `{where}`, which is "
            f"not among those that may be rebuilt: {', '.join(sorted(TRANSFORMERS))}."
        )
    return {key: _checked(each, part, (*path, str(key)), users) for key, each in node.items()}


def _limited(target: str, node: dict[str, Any], where: str) -> dict[str, Any]:
    """A node with its options checked, and without those that would fetch published weights."""
    if "_recursive_" in node or node.get("_convert_", "all") not in _CONVERT:
        raise UserError(f"The run's config sets `_recursive_` or `_convert_` at `{where}`, so it was not loaded.")
    if node.get("_partial_", False) not in (True, False):
        raise UserError(f"The run's config sets `_partial_` at `{where}` to no truth value, so it was not loaded.")
    if "_args_" in node and not target.startswith("torch.nn."):
        raise UserError(f"The run's config sets `_args_` at `{where}`, so it was not loaded.")
    if ".source" in where and node.get("_partial_") is not True:
        raise UserError(f"The run's config would read `{target}` while it is built, at `{where}`: it was not loaded.")
    if target in _MAKERS:
        node = {**node, "make": False}
    kinds = _OPTIONS.get(target, {})
    if target.startswith("lantu.data.") and kinds and (unknown := set(node) - set(kinds) - _SPECIAL):
        raise UserError(f"The run's config gives {target} the option `{sorted(unknown)[0]}` at `{where}`: not loaded.")
    for key, kind in kinds.items():
        if node.get(key) is not None and not _fits(node[key], kind):
            raise UserError(f"The run's config sets `{where}.{key}` to `{_shown(str(node[key]))}`: it was not loaded.")
    if not target.startswith("lantu.data."):
        node = {key: _nothing(each) if key == "pretrained" else each for key, each in node.items()}
        _refuse_loading({key: each for key, each in node.items() if key not in kinds}, where)
    return node


def _fits(value: Any, kind: str) -> bool:
    """Whether a value is true or false, or text: a name, a plain word, a path that stays below, or any text."""
    if kind == "flag":
        return isinstance(value, bool)
    if not isinstance(value, str) or "\0" in value:
        return False
    if kind == "below":
        return not value.startswith(("/", "~", "\\")) and ".." not in re.split(r"[/\\]", value) and ":" not in value
    if kind in ("name", "word"):
        whole = _NAME.fullmatch(value) and not value.startswith((".", "-", "/")) and ".." not in value
        return bool(whole) and (kind == "name" or "/" not in value)
    return "://" not in value


def _nothing(pretrained: Any) -> Any:
    """How an option `pretrained` says that no weights are fetched: the checkpoint has them."""
    return False if isinstance(pretrained, bool) else None


def _refuse_loading(node: dict[Any, Any], where: str) -> None:
    """Refuse options of networks that load weights, code or kernels."""
    for key, value in node.items():
        if key == "backbone_config" and isinstance(value, dict):
            continue  # of new weights; what is in it is looked at in its turn
        if _LOADS.search(str(key)) and value not in (None, False, "", {}, []):
            raise UserError(f"The run's config sets `{where}.{key}`, which would load something: it was not loaded.")
    _refuse_addresses(node, where)


def _refuse_addresses(node: dict[Any, Any], where: str) -> None:
    for key, value in node.items():
        if isinstance(value, str) and "://" in value and key != "elsewhere":
            raise UserError(f"The run's config names an address at `{where}.{key}`, so it was not loaded.")


def _is_users(target: str, users: tuple[str, ...]) -> bool:
    """Whether a target is defined in a package that the user trusts, not merely reached through one."""
    if not _within(target, users):
        return False
    found = _located(target)
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    return callable(found) and _within(home, users)


def _trusted_packages() -> tuple[str, ...]:
    """The packages of `LANTU_TRUSTED`.

    Raises:
        UserError: one is part of Python itself.
    """
    named = tuple(name.strip() for name in os.environ.get("LANTU_TRUSTED", "").split(",") if name.strip())
    for name in named:
        if _is_python(name):
            raise UserError(
                f"LANTU_TRUSTED={name}: `{name}` is part of Python, and a config that calls it could do anything. Name "
                "your own package."
            )
    return named


def _refusal(target: str, where: str, part: str) -> str:
    said = (
        f"The run's config names `{_shown(target)}` at `{where}`, which a stored config may not build there, so it was "
        "not loaded."
    )
    package = target.partition(".")[0]
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target) or not _is_own(package):
        return said
    return f"{said} If `{package}` is your own package, type `LANTU_TRUSTED={package}` in front of the command."


def _is_own(package: str) -> bool:
    """Whether a package can be the user's: it can be imported, and neither Python nor Lantu brings it along."""
    from importlib.util import find_spec

    if _is_python(package) or package in ("lantu", "hydra_plugins"):
        return False
    if _libraries().intersection(map(_normal, _distributions().get(package, []))):
        return False
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


@cache
def _libraries() -> set[str]:
    """What Lantu requires, extras included, and what that requires: not written to be named by strangers' configs."""
    from importlib.metadata import PackageNotFoundError, requires

    found, left = {"lantu"}, ["lantu"]
    while left:
        try:
            required = requires(left.pop()) or []
        except PackageNotFoundError:
            continue
        names = {_normal(match[0]) for each in required if (match := re.match(r"[\w.-]+", each))}
        left += names - found
        found |= names
    return found


@cache
def _distributions() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _is_python(name: str) -> bool:
    package = name.partition(".")[0]
    return package in sys.stdlib_module_names or package in sys.builtin_module_names


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _located(target: str) -> Any:
    """What a dotted name leads to; None when it leads nowhere."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for name in parts[length:]:
            found = getattr(found, name, None)
        return found
    return None


def _shown(text: str) -> str:
    """Foreign text for the terminal: short, one line, without control characters."""
    return for_terminal(text)[:120]
