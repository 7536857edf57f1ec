"""Peak memory of a training step beside what `lantu plan` counts for it on tensors without data; not compiled."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.cost.step_memory import Step, trace
from lantu.models import GPT
from lantu.models.activation_checkpointing import checkpoint_activations
from lantu.models.chunked_loss import linear_cross_entropy
from scripts.bench.gpu_parts.common import Row, empty_gpu, on_gpu, part

GPT2: dict[str, Any] = {"positions": "learned", "norm": "layer", "mlp": "gelu"}


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """Networks of two kinds, with activations kept and computed again; on a CPU only what is counted."""
    cases: dict[str, tuple[Callable[[int | None, str], Step], int | None, tuple[int, ...]]] = {
        "GPT-2 124M": (partial(gpt, (12, 12, 768), GPT2), 12, (4, 16, 32)),
        "GPT-2 124M, chunked loss": (partial(gpt, (12, 12, 768), GPT2, chunked=True), 12, (4, 16, 32)),
        "GPT-2 124M, activations again": (partial(gpt, (12, 12, 768), GPT2, again=True), 12, (4, 16, 32)),
        "LLaMA form, 1B": (partial(gpt, (16, 32, 2048), {"kv_heads": 8, "hidden": 8192}), 16, (2, 8)),
        "ResNet-50": (resnet, None, (16, 128)),
    }
    if asked.tiny:
        cases = {"GPT": (partial(gpt, (4, 2, 32), GPT2, words=64, context=16), 4, (2, 3))}
    for name, (make, repeats, batches) in cases.items():
        counted = trace(lambda blocks, make=make: make(blocks, "cpu"), precision="bf16-mixed", repeats=repeats)  # type: ignore[misc]
        for examples in batches:
            row: Row = {"network": name, "examples": examples, "counted GiB": counted.total(examples) / 2**30}
            if on_gpu():
                row["measured GiB"] = peak_of(make, examples)
                row["counted / measured"] = row["counted GiB"] / row["measured GiB"]
            yield row


def gpt(
    form: tuple[int, int, int],
    options: dict[str, Any],
    blocks: int | None,
    device: str,
    *,
    chunked: bool = False,
    again: bool = False,
    words: int = 50304,
    context: int = 1024,
) -> Step:
    """A GPT with AdamW."""
    layers, heads, width = form
    net = GPT(words, context, width=width, layers=blocks or layers, heads=heads, **options)
    if device != "cpu":  # tensors without data cannot be moved
        net.to(device)
    if again:
        checkpoint_activations(net)

    def loss(examples: int) -> Tensor:
        ids = torch.zeros(examples, context, dtype=torch.long, device=device)
        if chunked:
            return linear_cross_entropy(net(ids, logits=False).flatten(0, 1), net.head.weight, ids.flatten())
        return F.cross_entropy(net(ids).flatten(0, 1).float(), ids.flatten())

    return Step(net, torch.optim.AdamW(net.parameters(), fused=True), loss)


def resnet(blocks: int | None, device: str) -> Step:
    """timm's ResNet-50 with SGD."""
    import timm

    net: nn.Module = timm.create_model("resnet50")
    if device != "cpu":
        net.to(device)

    def loss(examples: int) -> Tensor:
        x = torch.zeros(examples, 3, 224, 224, device=device)
        return F.cross_entropy(net(x), torch.zeros(examples, dtype=torch.long, device=device))

    return Step(net, torch.optim.SGD(net.parameters(), momentum=0.9, fused=True), loss)


def peak_of(make: Callable[[int | None, str], Step], examples: int) -> float:
    """GiB that tensors held at the most in the third of three steps."""
    with empty_gpu():
        step = make(None, "cuda")
        for number in range(3):
            if number == 2:
                torch.cuda.reset_peak_memory_stats()
            with torch.autocast("cuda", torch.bfloat16):
                loss = step.loss(examples)
            loss.backward()
            step.optimizer.step()
            step.optimizer.zero_grad()
        peak = torch.cuda.max_memory_allocated() / 2**30
        del step, loss
    return peak


if __name__ == "__main__":
    part(measure)
