"""How much memory a training step takes, from steps on tensors that hold no data.

`torch`'s fake tensors have shapes, dtypes and storages of a size, but no memory, so that a step of a network with
seventy billion weights runs on a laptop in seconds. `torch.distributed._tools.MemTracker` follows every storage through
forward and backward pass. What repeats is measured twice and continued along a line: the blocks of a transformer, and
the examples of a batch.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lantu.cost.work import flop_counter

GIB = 2**30
RESERVED = 1.0 * GIB
"""Of a GPU's memory what tensors do not get: CUDA's context, workspaces of its libraries, gaps between tensors."""
MOST = 2**16
"""The largest batch on one device that is tried."""
EXAMPLES = (1, 8, 64)
"""Batches that are traced. Between and beyond them the peak is continued along lines."""
EXAMPLES_WITH_BATCH_NORM = (2, 8, 64)
"""The same for networks with batch norm, which cannot train on a single value."""
DEPTHS = (2, 3)
"""Numbers of repeated blocks that are traced."""


@dataclass(frozen=True)
class Step:
    """What is traced: a network with its optimizer, and its loss over a number of examples."""

    net: nn.Module
    optimizer: Optimizer
    loss: Callable[[int], Tensor]


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step holds."""

    weights: float
    """With the buffers."""
    gradients: float
    optimizer: float
    computing: tuple[float, ...]
    """Activations, gradients and temporary tensors at the peak, for batches of `examples`."""
    largest_part: float
    """Weights that FSDP gathers at once: those of the largest block, or of all that belongs to none."""
    examples: tuple[int, ...] = EXAMPLES
    """The batches that were traced."""

    def total(self, examples: int, *, devices: int = 1, sharded: bool = False, gathered_share: float = 0.5) -> float:
        """Bytes of tensors on each device at the peak.

        Args:
            examples: of the batch on one device.
            sharded: weights, gradients and optimizer state are split over the devices (FSDP).
            gathered_share: size of gathered weights over that of kept ones: 0.5 where they are gathered in bf16.
        """
        if not sharded or devices == 1:
            return self.weights + self.optimizer + max(self._computing(examples), self.gradients)
        state = (self.weights + self.optimizer + self.gradients) / devices
        parameters = 2 * self.largest_part * gathered_share  # one is gathered ahead
        return state + parameters + self.per_example * examples

    def _computing(self, examples: int) -> float:
        inside = float(np.interp(examples, self.examples, self.computing))
        return inside + self.per_example * max(0, examples - self.examples[-1])

    @property
    def per_example(self) -> float:
        """Of an example, where the batch is large; without copies of weights at lower precision."""
        return (self.computing[-1] - self.computing[-2]) / (self.examples[-1] - self.examples[-2])


def largest(fits: Callable[[int], bool]) -> int:
    """The largest batch that fits, up to `MOST`; 0: not even one example does."""
    low, high = 0, 1
    while fits(high) and high < MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def trace(make: Callable[[int | None], Step], *, precision: str, repeats: int | None = None) -> StepMemory:
    """Measure a step.

    Args:
        make: builds a step whose network has so many of its repeated blocks; None: as it is.
        precision: as Lightning's `trainer.precision`.
        repeats: how many blocks of the same kind the network has; None: it is traced whole.
    """
    if repeats is None or repeats <= DEPTHS[1]:
        return _traced(make, None, precision)
    first, second = (_traced(make, blocks, precision) for blocks in DEPTHS)
    return _continued(first, second, (repeats - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0]))


def count_flops(make: Callable[[int | None], Step], *, repeats: int | None = None) -> int:
    """Model FLOPs of training on one example: three times those of the forward pass."""

    def forward(blocks: int | None) -> int:
        with fake_tensors(), torch.no_grad():
            step = make(blocks)
            examples = (EXAMPLES_WITH_BATCH_NORM if has_batch_norm(step.net) else EXAMPLES)[0]
            with flop_counter() as counter:
                step.loss(examples)
        return int(counter.get_total_flops()) // examples

    if repeats is None or repeats <= DEPTHS[1]:
        return 3 * forward(None)
    first, second = (forward(blocks) for blocks in DEPTHS)
    return 3 * round(first + (second - first) * (repeats - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0]))


def has_batch_norm(net: nn.Module) -> bool:
    """Whether a layer normalises by the statistics of the batch it trains on."""
    return any(isinstance(each, nn.modules.batchnorm._BatchNorm) and each.training for each in net.modules())


def count_weights(net: nn.Module) -> int:
    """Numbers that a network learns; shared ones once."""
    return sum(each.numel() for each in net.parameters())


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors that are made inside hold no data; attention counts as on a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from lantu.models import attention

    kept, attention.FLOAT32_ATTENTION = attention.FLOAT32_ATTENTION, False
    try:
        with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True):
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # torch's own doing
            yield
    finally:
        attention.FLOAT32_ATTENTION = kept


def _traced(make: Callable[[int | None], Step], blocks: int | None, precision: str) -> StepMemory:
    from lantu.models.sharding import units

    with fake_tensors():
        step = make(blocks)
        if precision.endswith("-true") and precision != "32-true":
            step.net.to(torch.bfloat16)
        sizes = EXAMPLES_WITH_BATCH_NORM if has_batch_norm(step.net) else EXAMPLES
        _train(step, sizes[0], precision)
        step.optimizer.step()  # which makes its state
        step.optimizer.zero_grad()
        peaks = [_peak(step, examples, precision) for examples in sizes]
        parts = units(step.net)
        inside = [sum(_bytes(each) for each in part.parameters()) for part in parts]
        weights = sum(_bytes(each) for each in step.net.parameters())
        buffers = sum(_bytes(each) for each in step.net.buffers())
    return StepMemory(
        weights=weights + buffers,
        gradients=weights,
        optimizer=peaks[0][0],
        computing=tuple(computing for _, computing in peaks),
        largest_part=max([weights - sum(inside), *inside]),
        examples=sizes,
    )


def _peak(step: Step, examples: int, precision: str) -> tuple[float, float]:
    """Bytes at the peak of forward and backward pass: of the optimizer's state, and of all but that and the weights."""
    from torch.distributed._tools.mem_tracker import MemTracker

    tracker = MemTracker()
    tracker.track_external(step.net, step.optimizer)
    with tracker:
        _train(step, examples, precision)
    found: dict[str, float] = {}
    for parts in tracker.get_tracker_snapshot("peak").values():
        for kind, size in parts.items():
            name = kind if isinstance(kind, str) else kind.value
            found[name] = found.get(name, 0.0) + size
    step.optimizer.zero_grad()
    rest = found["Total"] - found["Parameter"] - found["Buffer"] - found["Optstate"]
    return found["Optstate"], rest


def _train(step: Step, examples: int, precision: str) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision.endswith("-mixed")):
        loss = step.loss(examples)
    loss.backward()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _continued(first: StepMemory, second: StepMemory, steps: float) -> StepMemory:
    """The same with more blocks, along the line through both."""

    def along(a: float, b: float) -> float:
        return a + (b - a) * steps

    names = ("weights", "gradients", "optimizer")
    computing = tuple(along(a, b) for a, b in zip(first.computing, second.computing, strict=True))
    sizes: dict[str, Any] = {name: along(getattr(first, name), getattr(second, name)) for name in names}
    return replace(second, computing=computing, **sizes)
