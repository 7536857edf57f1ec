"""What the card does at best, which attention kernel is fastest, and what a step of each optimizer takes."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lantu.models import GPT
from lantu.models.chunked_loss import chunk_loss_and_gradient, linear_cross_entropy
from lantu.optim import parameter_groups
from scripts.bench.gpu_parts.common import Row, median_seconds, on_gpu, part

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """Ceilings, attention, the loss over a vocabulary, optimizers."""
    device, repeats = ("cuda", 20) if on_gpu() else ("cpu", 1)
    yield from ceilings(device, 64 if asked.tiny else 8192, repeats)
    yield from attention(device, (2, 2, 32, 8) if asked.tiny else (asked.batch, 12, 1024, 64), repeats)
    yield from losses(device, (64, 8, 100) if asked.tiny else (asked.batch * 1024, 768, 50304), repeats)
    yield from optimizers(device, tiny=asked.tiny, repeats=repeats)


def ceilings(device: str, n: int, repeats: int) -> Iterator[Row]:
    """A large matrix product and a large copy."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    yield {
        "what": f"bf16 matrix product {n}",
        "TFLOP/s": 2 * n**3 / median_seconds(lambda: a @ b, repeats=repeats) / 1e12,
    }
    x = torch.randn(16 * n * n // 4, device=device)
    y = torch.empty_like(x)
    seconds = median_seconds(lambda: y.copy_(x), repeats=repeats)
    yield {"what": "copy", "TB/s, read and written": 2 * x.numel() * 4 / seconds / 1e12}


def attention(device: str, shape: tuple[int, int, int, int], repeats: int) -> Iterator[Row]:
    """Causal attention, forward and backward, by each kernel that PyTorch has."""
    n, h, t, c = shape
    # as the network lays them out: heads side by side in each token
    qkv = torch.randn(n, t, 3 * h, c, device=device, dtype=torch.bfloat16, requires_grad=True)
    flops = 3.5 * 2 * 2 * n * h * t * t * c / 2
    for name, backend in BACKENDS.items():

        def both(backend: SDPBackend = backend) -> None:
            q, k, v = qkv.transpose(1, 2).chunk(3, dim=1)
            with sdpa_kernel(backend):
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            y.backward(torch.ones_like(y))

        try:
            seconds = median_seconds(both, repeats=repeats)
        except RuntimeError as error:
            yield {"what": f"attention, {name}", "not here": str(error)[:80]}
            continue
        yield {"what": f"attention, {name}", "ms": 1e3 * seconds, "TFLOP/s": flops / seconds / 1e12}


def losses(device: str, shape: tuple[int, int, int], repeats: int) -> Iterator[Row]:
    """The last layer and its loss, forward and backward: by chunks, and all at once compiled."""
    m, d, v = shape
    x = torch.randn(m, d, device=device, dtype=torch.bfloat16, requires_grad=True)
    weight = (0.02 * torch.randn(v, d, device=device)).requires_grad_()
    y = torch.randint(v, (m,), device=device)

    def plain(logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits.float(), y)

    compiled: Any = torch.compile(plain) if on_gpu() else plain
    make: Any = torch.compile(chunk_loss_and_gradient, dynamic=False) if on_gpu() else chunk_loss_and_gradient

    def at_once() -> torch.Tensor:
        return compiled(x @ weight.to(x.dtype).T)

    def in_chunks(size: int | None) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16):
            return linear_cross_entropy(x, weight, y, chunk=size, loss_and_gradient=make)

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "loss, all logits at once, compiled": at_once,
        "loss, chunks of 1 GiB": partial(in_chunks, None),
    }
    if not asked_tiny(m):
        ways |= {f"loss, chunks of {size} tokens": partial(in_chunks, size) for size in (2048, 16384)}
    expected = None
    for name, loss in ways.items():
        if on_gpu():
            torch.cuda.reset_peak_memory_stats()
        value = loss()
        found = [value.detach(), *torch.autograd.grad(value, (x, weight))]
        expected = expected or found
        off = max(
            float((a.float() - b.float()).norm() / b.float().norm()) for a, b in zip(found, expected, strict=True)
        )
        seconds = median_seconds(partial(_both_ways, loss, (x, weight)), repeats=repeats)
        row: Row = {"what": name, "ms": 1e3 * seconds}
        if on_gpu():
            row["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
        yield row | {"off the first": off}


def _both_ways(loss: Callable[[], torch.Tensor], of: tuple[torch.Tensor, ...]) -> None:
    torch.autograd.grad(loss(), of)


def asked_tiny(m: int) -> bool:
    """Whether these are the sizes of a test."""
    return m < 1000


def optimizers(device: str, *, tiny: bool, repeats: int) -> Iterator[Row]:
    """A step over all weights of GPT-2: AdamW in one kernel, Muon in batches, timm's Muon."""
    import timm.optim

    from lantu.optim.muon import Muon

    width, layers = (16, 2) if tiny else (768, 12)
    net = GPT(
        64 if tiny else 50304, 64, width=width, layers=layers, heads=2, positions="learned", norm="layer", mlp="gelu"
    )
    net.to(device)
    for weight in net.parameters():
        weight.grad = torch.randn_like(weight)
    made = {
        "AdamW, fused": partial(torch.optim.AdamW, fused=True),
        "Muon, in batches": partial(Muon, batched=True),
        "Muon, timm's": timm.optim.Muon,
    }
    for name, make in made.items():
        optimizer = make(parameter_groups(net), lr=1e-4)
        yield {"what": f"optimizer, {name}", "ms": 1e3 * median_seconds(optimizer.step, repeats=max(1, repeats // 2))}


if __name__ == "__main__":
    part(measure)
