"""Hydra's `instantiate` for plain values: it copies, merges and resolves a config node for each object that it builds.

What a target may be and how it is called is decided by Hydra's own functions. Its whole `instantiate` is called for all
that is not common.
"""

from typing import Any

from hydra._internal.instantiate import _instantiate2 as hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import is_structured_config
from omegaconf.errors import OmegaConfBaseException

try:
    from hydra._internal import target_policy
except ImportError:  # an earlier Hydra
    target_policy = None  # type: ignore[assignment]

CALL = ("_target_", "_partial_", "args", "kwargs", "full_key")
IS_KNOWN = (
    hydra._call_target.__code__.co_varnames[: len(CALL)] == CALL
    and hasattr(hydra, "_resolve_target")
    and hasattr(target_policy, "_target_policy_context")
    and hasattr(target_policy, "_validated_target_policy")
)
DIGEST = str(getattr(target_policy, "_EXPECTED_TARGET_POLICY_DIGEST", "")) if IS_KNOWN else ""
"""Of the policy that a config's targets are held to; empty: this Hydra has none, or builds in another way."""
OPTIONS = {"_target_", "_partial_", "_recursive_", "_convert_"}
"""Keys of a node that are no arguments."""


def instantiate(node: Any, given: dict[str, Any]) -> Any:
    """Build what a node describes; containers among its arguments become dictionaries and lists.

    Args:
        given: further arguments, already built.

    Raises:
        InstantiationException: as Hydra's.
    """
    plain = _plain(node, given)
    if plain is None:
        return hydra.instantiate(node, _convert_="all", **given)
    with target_policy._target_policy_context(target_policy._validated_target_policy(DIGEST)):
        return _built(plain, str(node._get_full_key(None)))


def _plain(node: Any, given: dict[str, Any]) -> dict[str, Any] | None:
    """The resolved arguments of a node; None where Hydra would do more with them than pass them on."""
    if not DIGEST or not isinstance(node, DictConfig):
        return None
    try:
        plain: Any = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException:
        return None
    if given.keys() & plain.keys():  # which others may refer to, and mappings are merged into
        return None
    found = {**plain, **given}
    return found if _is_common(found) else None


def _is_common(part: Any) -> bool:
    if isinstance(part, str):
        return "${" not in part and part != "???"
    if part is None or isinstance(part, int | float):
        return True
    if isinstance(part, list):
        return all(map(_is_common, part))
    if not isinstance(part, dict):
        return not isinstance(part, tuple) and not OmegaConf.is_config(part) and not is_structured_config(part)
    own = OPTIONS & part.keys()
    is_plain = not own or (
        isinstance(part.get("_target_"), str)
        and isinstance(part.get("_partial_", False), bool)
        and isinstance(part.get("_recursive_", True), bool)
        and part.get("_convert_", "all") == "all"
    )
    return is_plain and all(map(_is_common, part.values()))


def _built(part: Any, path: str, *, recursive: bool = True) -> Any:
    """Build what lies inside, and then the part itself."""
    if isinstance(part, list):
        return [_built(each, f"{path}[{index}]", recursive=recursive) for index, each in enumerate(part)]
    if not isinstance(part, dict):
        return part
    recursive = part.get("_recursive_", recursive)
    if "_target_" not in part:
        return {name: _built(each, f"{path}.{name}", recursive=recursive) for name, each in part.items()}
    target = hydra._resolve_target(part["_target_"], path)
    arguments = {
        name: _built(each, f"{path}.{name}", recursive=recursive) if recursive else each
        for name, each in part.items()
        if name not in OPTIONS
    }
    return hydra._call_target(target, part.get("_partial_", False), (), arguments, path)
