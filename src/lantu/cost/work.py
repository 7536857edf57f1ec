"""FLOPs of a step, and the peak FLOP/s of the device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.utilities.data import extract_batch_size
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.module_tracker import ModuleTracker

from lantu.lazy_dynamo import is_loaded

LATENCY_SECONDS = 0.5
"""Maximum duration of the latency measurement."""
HOPPER = {"sxm": (66.9e12, 494.7e12, 989.4e12), "nvl": (60e12, 417.5e12, 835.5e12)}
"""Peak dense FLOP/s of NVIDIA's H200 (same as H100) and of H100 and H200 NVL: float32, TF32, 16 bits."""


def one_example(batch: Any) -> Any:
    """Return the inputs of a batch's first example as a batch of one, copied, at any depth of lists and dicts.

    Raises:
        ValueError: the inputs contain no tensor.
    """
    x = batch[0] if isinstance(batch, tuple | list) else batch
    if isinstance(x, list | tuple):  # one item per example, such as images of different sizes
        x = type(x)(x[:1])
        return apply_to_collection(x, Tensor, lambda each: each.detach().clone())
    if not isinstance(x, Tensor | dict):
        raise ValueError(f"inputs are a {type(x).__name__}")
    return apply_to_collection(x, Tensor, lambda each: each[:1].detach().clone())


def examples_in(batch: Any) -> int:
    """Return the number of examples in a batch; 0 if unknown."""
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(x, Tensor):
        return len(x) if x.ndim else 1
    if isinstance(x, list | tuple):
        return len(x)
    try:
        return int(extract_batch_size(batch))
    except MisconfigurationException:
        return 0


def flop_counter() -> FlopCounterMode:
    """Torch's counter of FLOPs, which does not know the attention kernel of CPUs by itself."""

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
        heads = query[1]  # each of fewer heads of keys and values is read by several of the queries'
        return int(sdpa_flop_count(query, (key[0], heads, *key[2:]), (value[0], heads, *value[2:])))

    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    )
    counter.mod_tracker = _WithoutModules()
    return counter


class _WithoutModules(ModuleTracker):
    """Counts for the whole network alone.

    Torch's tracker puts backward hooks on inputs of modules. It fails under `no_grad` where an input is a view of a
    parameter, such as the queries of Deformable DETR.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        pass


def forward_flops(net: nn.Module, x: Any) -> int:
    """Count the FLOPs of a forward pass over one example (1, ...): matrix products, convolutions, attention.

    A multiply-add counts as two. The counter cannot see the fused kernels of recurrent layers; they count as
    2 × weights × tokens.
    """
    training = [module for module in net.modules() if module.training]
    net.eval()  # batch norm cannot train on a batch of one, and its running statistics must not change
    recurrent: list[int] = []
    layers = [module for module in net.modules() if isinstance(module, nn.RNNBase)]
    hooks = [layer.register_forward_hook(lambda *call: recurrent.append(_recurrent_flops(*call))) for layer in layers]
    try:
        with torch.no_grad(), _uncompiled(), flop_counter() as counter:
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return counter.get_total_flops() + sum(recurrent)


def _uncompiled() -> AbstractContextManager[object]:
    """Run networks as they are written: the counter cannot see compiled code, and a batch of one would recompile it.

    While the compiler is not loaded nothing is compiled, and `set_stance` would load it.
    """
    return torch.compiler.set_stance("force_eager") if is_loaded() else nullcontext()


def _recurrent_flops(layer: nn.RNNBase, inputs: tuple[Any, ...], output: Any) -> int:
    """Twice the weights for each step of a sequence."""
    sequence = inputs[0].data if isinstance(inputs[0], nn.utils.rnn.PackedSequence) else inputs[0]
    steps = sequence.numel() // sequence.shape[-1]
    return 2 * steps * sum(each.numel() for name, each in layer.named_parameters() if name.startswith("weight"))


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the peak FLOP/s of a device according to its maker; None if unknown, as for CPUs.

    The values are for dense matrices. Lightning's table lists NVIDIA's figures with 2:4 sparsity for the H200 and the
    NVL models, so those are replaced here.
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
    """Return the median latency of a batch of one, in milliseconds."""
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
                if turn:  # the first one is a warm-up
                    seconds.append(time.perf_counter() - begin)
                if time.perf_counter() > end and seconds:
                    break
    finally:
        for module in training:
            module.training = True
    return 1000 * sorted(seconds)[len(seconds) // 2]


def peak_memory_gib(device: torch.device) -> float:
    """Return the peak memory of training: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def total_memory_gib(device: torch.device) -> float:
    """Return the total memory of the GPU or the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 2**30
    import psutil

    return psutil.virtual_memory().total / 2**30


def device_name(device: torch.device) -> str:
    """Return the maker's name of a GPU, else the device type, such as "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def tokens_in(x: Any) -> int:
    """Return the number of tokens in a batch (N, T) of token ids; 0 for other inputs."""
    return x.numel() if isinstance(x, Tensor) and x.ndim == 2 and not x.is_floating_point() else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
