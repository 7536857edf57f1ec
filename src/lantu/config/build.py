"""Build objects from config nodes."""

from typing import Any

from hydra.errors import InstantiationException

from lantu.config.instantiate import instantiate
from lantu.errors import UserError

LIBRARIES = ("lantu", "pytorch_lightning", "timm", "torch", "torchmetrics", "torchvision", "transformers")
"""Packages whose constructors raise any kind of error for options that they cannot take."""


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
        return instantiate(node, given)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        target = str(node["_target_"])
        if "Error locating target" in str(error) or cause is None:
            raise UserError(f"`_target_: {target}` cannot be built: {_reason(cause or error)}.") from error
        # these errors are about the options; another error of the user's own class may be a mistake in its code, which
        # needs the traceback
        if target.partition(".")[0] in LIBRARIES or isinstance(cause, ValueError | TypeError | OSError):
            raise UserError(f"`{target}` refuses its options: {_reason(cause)}") from error
        raise


def decided_parts(cfg: Any) -> dict[str, Any]:
    """What a task is given beside its own options, by argument: a calibration and a decision, where asked for."""
    found = {"calibration": build(cfg.get("calibration")), "decision": build(cfg.get("business"))}
    return {name: part for name, part in found.items() if part is not None}


def measured_by(cfg: Any) -> list[str]:
    """The columns that a task measures by, its slices and the scan of a FROC; no prediction needs them."""
    scan = cfg.task.get("scan")
    return [*(cfg.task.get("slices") or []), *([scan] if scan else [])]


def groups_of(cfg: Any) -> list[str]:
    """The columns by whose groups a run is measured."""
    return list((cfg.get("fairness") or {}).get("group") or [])


def _reason(error: BaseException) -> str:
    """The first line of what an exception says; its kind where it says nothing."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if "is blocklisted" in reason:  # a sentence of several lines
        return f"{reason.partition(' because')[0].rstrip('.')} by Hydra, since it could execute what a config holds"
    if isinstance(error, ValueError | TypeError | OSError | RuntimeError) and reason:
        return reason
    return f"{type(error).__name__}: {reason}".rstrip(": ")


def build_all(group: Any) -> list[Any]:
    """Build every node of a group such as callbacks or logger, in order; empty nodes are left out."""
    return [built for node in (group or {}).values() if (built := build(node)) is not None]
