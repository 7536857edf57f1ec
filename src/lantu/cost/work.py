"""The arithmetic of a step, and how fast the device could do it at best."""

from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.utilities.data import extract_batch_size
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

LATENCY_SECONDS = 0.5
"""How long answering single requests is timed at most."""
HOPPER = {"sxm": (66.9e12, 494.7e12, 989.4e12), "nvl": (60e12, 417.5e12, 835.5e12)}
"""Operations a second of NVIDIA's H200 (as the H100), and of H100 and H200 NVL: float32, TF32, 16 bits."""


def one_example(batch: Any) -> Any:
    """The inputs of a batch's first example, as a batch of one: a copy, at any depth of lists and dicts.

    Raises:
        ValueError: the inputs hold no tensor.
    """
    x = batch[0] if isinstance(batch, tuple | list) else batch
    if isinstance(x, list | tuple):  # one thing for each example, such as images of different sizes
        x = type(x)(x[:1])
        return apply_to_collection(x, Tensor, lambda each: each.detach().clone())
    if not isinstance(x, Tensor | dict):
        raise ValueError(f"inputs are a {type(x).__name__}")
    return apply_to_collection(x, Tensor, lambda each: each[:1].detach().clone())


def examples_in(batch: Any) -> int:
    """How many examples a batch holds; 0 where that cannot be told."""
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(x, Tensor):
        return len(x) if x.ndim else 1
    if isinstance(x, list | tuple):
        return len(x)
    try:
        return int(extract_batch_size(batch))
    except MisconfigurationException:
        return 0


def forward_flops(net: nn.Module, x: Any) -> int:
    """Floating-point operations of a forward pass over one example (1, ...): matrix products, convolutions, attention.

    A multiplication and an addition count as two. Recurrent layers, whose fused kernels the counter does not see, are
    counted as 2 × weights × tokens.
    """
    training = [module for module in net.modules() if module.training]
    net.eval()  # a batch of one has no variance, and counting must not move running statistics
    try:
        # what is compiled is not seen by the counter, and one example more would have to be compiled for
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
            net(x)
    finally:
        for module in training:
            module.training = True
    recurrent = sum(
        parameter.numel()
        for module in net.modules()
        if isinstance(module, nn.RNNBase)
        for name, parameter in module.named_parameters()
        if name.startswith("weight")
    )
    tokens = x.shape[1] if isinstance(x, Tensor) and x.ndim > 1 else 1
    return counter.get_total_flops() + 2 * recurrent * tokens


def peak_flops(device: torch.device, precision: str) -> float | None:
    """What a device can do in a second at best, as its maker says; None where that is not known, as for CPUs.

    Of matrices in which no value is left out. Lightning's table has, for the H200 and the NVL kinds, those that the
    maker prints for matrices half of whose values are zero, of which an ordinary network has none.
    """
    if device.type != "cuda":
        return None
    from lightning_fabric.utilities.throughput import get_available_flops

    dtype = torch.bfloat16 if "bf16" in precision else torch.float16 if "16" in precision else torch.float32
    name = torch.cuda.get_device_name(device).lower()
    if "h200" in name or "h100 nvl" in name:
        wide, tf32, half = HOPPER["nvl" if "nvl" in name else "sxm"]
        single = wide if torch.get_float32_matmul_precision() == "highest" else tf32
        return single if dtype is torch.float32 else half
    return get_available_flops(device, dtype)


def latency_ms(net: nn.Module, x: Any) -> float:
    """Median time to answer a batch of one example, in milliseconds."""
    import time

    training = [module for module in net.modules() if module.training]
    net.eval()
    device, seconds = next(net.parameters()).device, []
    end = time.perf_counter() + LATENCY_SECONDS
    try:
        with torch.inference_mode():
            for turn in range(20):
                begin = time.perf_counter()
                net(x)
                _wait(device)
                if turn:  # the first one warms up
                    seconds.append(time.perf_counter() - begin)
                if time.perf_counter() > end and seconds:
                    break
    finally:
        for module in training:
            module.training = True
    return 1000 * sorted(seconds)[len(seconds) // 2]


def peak_memory_gib(device: torch.device) -> float:
    """The most memory that training has held: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def total_memory_gib(device: torch.device) -> float:
    """What there is of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 2**30
    import psutil

    return psutil.virtual_memory().total / 2**30


def device_name(device: torch.device) -> str:
    """As its maker calls it; "cpu" for a processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def tokens_in(x: Any) -> int:
    """Tokens of a batch (N, T) of token numbers; 0 for other inputs."""
    return x.numel() if isinstance(x, Tensor) and x.ndim == 2 and not x.is_floating_point() else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
