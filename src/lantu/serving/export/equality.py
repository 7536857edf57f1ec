"""Compare an exported network with the trained one on real examples, in batches of several sizes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lantu.errors import UserError
from lantu.inference.exported import flatten
from lantu.tasks import Task
from lantu.tasks.interface import TaskInterface

COORDINATES = ("boxes", "prediction boxes")
"""Outputs in pixels of a picture. A coordinate near 0 is a difference of two large ones and keeps their rounding, so
all are measured against the largest."""


@dataclass
class Equality:
    """What was compared, and the largest difference."""

    tolerance: float
    examples: int = 0
    batches: list[list[int]] = field(default_factory=list)
    """The shape of the first input of each batch."""
    largest: dict[str, float] = field(default_factory=dict)
    """For each output, the largest |difference| / (1 + |trained network's|); of `COORDINATES`, their largest."""
    different: list[str] = field(default_factory=list)
    """Outputs that are further apart than the tolerance, and answers that differ."""

    @property
    def equal(self) -> bool:
        return not self.different and self.examples > 0


def compare(trained: Task, exported: Task, batches: list[Any], *, tolerance: float, dynamic: list[int]) -> Equality:
    """Compare outputs and predictions of two tasks.

    Args:
        batches: real ones, as the data module gives them: inputs, or a tuple that begins with them.
        tolerance: of |difference| / (1 + |value|).
        dynamic: dimensions of the first input that may vary.
    """
    found = Equality(tolerance)
    with torch.inference_mode():
        for batch in batches:
            x = batch[0] if isinstance(batch, tuple | list) else batch
            for part in _parts(x, dynamic):
                shape = list(next(iter(flatten(part).values())).shape)
                found.batches.append(shape)
                _add(found, "", flatten(trained.deployed(part)), flatten(_answer(exported, part, shape)))
            found.examples += len(next(iter(flatten(x).values())))
            if trained.answers and not (trained.prompted or trained.generates):
                # without `predictions` of its own a task needs more of a batch than its inputs
                given = x if type(trained).predictions is not TaskInterface.predictions else batch
                _add(found, "prediction ", trained.predict_step(given), exported.predict_step(given))
    return found


def _answer(exported: Task, part: Any, shape: list[int]) -> Any:
    try:
        return exported.deployed(part)
    except Exception as error:  # a guard of the trace, or a shape that the runtime does not take
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"the exported network takes no input of shape {tuple(shape)}: {reason[:200]}.") from error


def _parts(x: Any, dynamic: list[int]) -> Iterator[Any]:
    """The batch itself; its first example alone, its first two, and shorter texts."""
    yield x
    tensors = flatten(x)
    size = len(next(iter(tensors.values())))
    for count in (1, 2) if 0 in dynamic else ():
        if count < size:
            yield _like(x, {name: each[:count] for name, each in tensors.items()})
    if isinstance(x, Tensor) and not x.is_floating_point() and x.ndim - 1 in dynamic and x.shape[-1] >= 6:
        yield x[..., : x.shape[-1] // 2]


def _like(x: Any, tensors: dict[str, Tensor]) -> Any:
    return tensors["value"] if isinstance(x, Tensor) else tensors


def _add(found: Equality, prefix: str, trained: dict[str, Any], exported: dict[str, Any]) -> None:
    for name, given in trained.items():
        value, other, full = _joined(given), _joined(exported[name]), f"{prefix}{name}"
        if isinstance(value, Tensor) and value.is_floating_point() and value.shape == other.shape:
            size = value.double().abs()
            size = size.amax() if full in COORDINATES and size.numel() else size
            apart = ((value.double() - other.double()).abs() / (1 + size)).nan_to_num(0.0)
            strange, also = ~torch.isfinite(value), ~torch.isfinite(other)
            same_strange = torch.equal(strange, also) and _same_kind(value[strange], other[also])
            largest = float(apart.max()) if apart.numel() else 0.0
            found.largest[full] = max(found.largest.get(full, 0.0), largest)
            wrong = largest > found.tolerance or not same_strange
        else:
            wrong = not _same(value, other, found.tolerance)
        if wrong and full not in found.different:
            found.different.append(full)


def _joined(value: Any) -> Any:
    """One tensor of a list of tensors that differ in their first dimension alone, such as the boxes of each picture."""
    if isinstance(value, list) and value and all(isinstance(each, Tensor) and each.ndim for each in value):
        return torch.cat(value) if len({each.shape[1:] for each in value}) == 1 else value
    return value


def _same_kind(one: Tensor, two: Tensor) -> bool:
    """Whether infinities have the same sign, and NaN stands where NaN stood."""
    return torch.equal(one.double().nan_to_num(0.0), two.double().nan_to_num(0.0))


def _same(value: Any, other: Any, tolerance: float) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        if value.is_floating_point():
            return value.shape == other.shape and torch.allclose(value, other, rtol=tolerance, atol=tolerance)
        return torch.equal(value, other)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(_same(*pair, tolerance) for pair in zip(value, other, strict=True))
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(_same(value[name], other[name], tolerance) for name in value)
    if isinstance(value, float):
        return abs(value - other) <= tolerance * (1 + abs(value))
    return bool(value == other)
