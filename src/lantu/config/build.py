"""Build objects from config nodes, and decide which names a config from elsewhere may call."""

import importlib
import os
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lantu.config.checking import targets
from lantu.errors import UserError

OURS = ("lantu.data", "lantu.models", "lantu.optim", "lantu.tasks")
"""Packages of ours whose classes and functions a config from elsewhere may name."""
LIBRARIES = ("pytorch_lightning", "timm", "torch.nn", "torchmetrics", "torchvision", "transformers")
"""Packages whose modules, metrics and model configurations (classes, not functions) it may name."""
FUNCTIONS = ("timm.create_model", "torchvision.models.get_model")
"""Single functions of libraries that it may name."""
FORBIDDEN_OPTIONS = ("trust_remote_code",)


def build(node: Any, **given: Any) -> Any:
    """Build the object that a config node describes; None for an empty node.

    Args:
        node: a mapping with `_target_`; with `_partial_` a callable comes back.
        given: further keyword arguments, already built.

    Raises:
        UserError: the constructor refuses an option.
    """
    if not node or not node.get("_target_"):
        return None
    try:
        return instantiate(node, _convert_="all", **given)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        # Lightning's own kind is told by its name, so that Lightning need not be imported here
        if isinstance(cause, ValueError | TypeError | OSError) or type(cause).__name__ == "MisconfigurationException":
            # what a constructor says of its arguments is meant for whoever chose them
            raise UserError(f"`{node['_target_']}` refuses its options: {cause}") from error
        raise


def build_all(group: Any) -> list[Any]:
    """Build every node of a group such as callbacks or logger, in order; empty nodes are left out."""
    return [built for node in (group or {}).values() if (built := build(node)) is not None]


def check_trusted(cfg: Any) -> None:
    """Refuse a config from a run or a server that names anything but building blocks of trusted packages.

    Hydra would otherwise call whatever a config names, `os.system` as well. Looked at are both the name as written and
    where the object that it leads to was defined, so that `torch.nn.modules.module.warnings.warn` does not pass. A user
    adds packages of their own with `LANTU_TRUSTED=my_package,other.module`.

    Raises:
        UserError: naming the target and how to trust its package.
    """
    users = tuple(name for name in os.environ.get("LANTU_TRUSTED", "").split(",") if name)
    for path, node in targets(cfg):
        target = str(node["_target_"])
        if not _trusted(target, users):
            raise UserError(
                f"The run's config names `{target}` at `{path}`, which is not a trusted building block, so it was not "
                f"loaded. If you trust it, type `LANTU_TRUSTED={target.rpartition('.')[0]}` in front of the command."
            )
    for key in _keys(OmegaConf.to_container(cfg, resolve=False) if OmegaConf.is_config(cfg) else cfg):
        if key in FORBIDDEN_OPTIONS:
            raise UserError(f"The run's config sets `{key}`, which would run code from a hub, so it was not loaded.")


def _trusted(target: str, users: tuple[str, ...]) -> bool:
    if target in FUNCTIONS:
        return True
    if not _within(target, (*OURS, *LIBRARIES, *users)):
        return False
    found = _located(target)
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if _within(home, (*OURS, *users)):
        return callable(found)
    return _within(home, LIBRARIES) and _is_building_block(found)


def _is_building_block(found: Any) -> bool:
    """Whether an object is a class that only builds: a module, a metric, a model's configuration."""
    from torch import nn
    from transformers import PreTrainedConfig

    return isinstance(found, type) and issubclass(found, nn.Module | PreTrainedConfig)


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


def _keys(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*map(_keys, node.values())) if node else set()
    if isinstance(node, list):
        return set().union(*map(_keys, node)) if node else set()
    return set()
