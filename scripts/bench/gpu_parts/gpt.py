"""GPT-2: tokens a second and model FLOPs utilisation of our loop and of nanoGPT's."""

import argparse
import importlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lantu.cost.work import peak_flops
from lantu.log_noise import without_noise
from lantu.models import GPT
from lantu.optim import parameter_groups
from lantu.tasks import LanguageModeling
from lantu.training.loop.compile import compile_loss, speed_up
from lantu.training.loop.lean_loop import make_lean
from scripts.bench.gpu_parts.common import AfterStep, Batches, Data, Row, Turns, on_gpu, part, trainer, usual_callbacks

ADAMW: dict[str, Any] = {"lr": 6e-4, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": True}

SIZES = {"124m": (12, 12, 768), "355m": (24, 16, 1024), "774m": (36, 20, 1280)}
"""Layers, heads and width of the three smaller of Radford et al. 2019, by their weights."""


@dataclass(frozen=True)
class Size:
    """A GPT-2 and a batch for it."""

    layers: int
    heads: int
    width: int
    vocabulary: int
    context: int
    batch: int

    def flops_per_token(self, weights: int) -> int:
        """Forward and backward, as nanoGPT counts them (Chowdhery et al. 2022, PaLM, appendix B)."""
        return 6 * weights + 12 * self.layers * self.width * self.context

    def net(self) -> GPT:
        """As nanoGPT's with bias=False."""
        return GPT(
            self.vocabulary, self.context, width=self.width, layers=self.layers, heads=self.heads, positions="learned",
            norm="layer", mlp="gelu",
        )  # fmt: skip

    def batches(self) -> Batches:
        """Random tokens and those one place on."""
        made = []
        for _ in range(4):
            tokens = torch.randint(self.vocabulary, (self.batch, self.context + 1))
            made.append((tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()))
        return Batches(*made)


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """Loops in turns: ours with the loss in chunks and at once, and nanoGPT's."""
    without_noise()
    size = Size(2, 2, 64, 256, 32, 4) if asked.tiny else Size(*SIZES[asked.size], 50304, 1024, asked.batch)
    compiled = on_gpu()
    loops: dict[str, Callable[[Callable[[], bool]], None]] = {
        "ours": partial(ours, size, compiled=compiled, chunked=True),
        "ours, chunked_loss=false": partial(ours, size, compiled=compiled, chunked=False),
    }
    if asked.nanogpt:
        loops["nanoGPT"] = partial(nanogpt, size, compiled=compiled, checkout=asked.nanogpt)
    turns = Turns(
        list(loops),
        steps=2 if asked.tiny else 10,
        slices=1 if asked.tiny else 6,
        profiled_steps=2,
        wait_for=asked.wait_for,
    )
    turns.run(loops)
    weights = sum(each.numel() for each in size.net().parameters()) - size.context * size.width
    peak = peak_flops(torch.device("cuda"), "bf16-mixed") if on_gpu() else None
    reference = statistics.median(turns.seconds["nanoGPT"]) if turns.seconds.get("nanoGPT") else None
    for name in loops:
        if name in turns.errors or not turns.seconds[name]:
            yield {"loop": name, "failed": turns.errors.get(name, "no slice was whole")}
            continue
        step = statistics.median(turns.seconds[name])
        rate = size.batch * size.context / step
        row: Row = {"loop": name, "ms a step": 1e3 * step, "spread": spread(turns.seconds[name]), "tokens/s": rate}
        if peak:
            row["MFU"] = rate * size.flops_per_token(weights) / peak
            row["peak GiB"] = turns.peak_gib[name]
        yield row | ({"over nanoGPT": reference / step} if reference else {})
    if asked.profile:
        texts = [f"{name}\n\n{table}" for name, table in turns.profiles.items()]
        asked.profile.write_text("\n\n".join(texts), encoding="utf-8")


def spread(seconds: list[float]) -> float:
    """Slowest slice over the fastest, less one."""
    return max(seconds) / min(seconds) - 1


def ours(size: Size, step_done: Callable[[], bool], *, compiled: bool, chunked: bool) -> None:
    """Lightning's loop with our step, our task and the callbacks that every run has."""
    torch.manual_seed(0)
    net = size.net()
    speed_up(net, compiled=compiled, channels_last=False)
    optimizer: Any = partial(torch.optim.AdamW, **ADAMW)
    task = LanguageModeling(net, bytes_per_token=1.0, context=size.context, optimizer=optimizer, chunked_loss=chunked)
    if compiled:
        compile_loss(task)
    with tempfile.TemporaryDirectory() as folder:
        fitting = trainer(folder, [*usual_callbacks(), AfterStep(step_done)], gradient_clip_val=1.0)
        make_lean(fitting)
        fitting.fit(task, Data(size.batches()))


def nanogpt(size: Size, step_done: Callable[[], bool], *, compiled: bool, checkout: Path) -> None:
    """The loop of nanoGPT's train.py around nanoGPT's own model."""
    sys.path.insert(0, str(checkout))
    model = importlib.import_module("model")

    torch.manual_seed(0)
    device = "cuda" if on_gpu() else "cpu"
    net: nn.Module = model.GPT(
        model.GPTConfig(block_size=size.context, vocab_size=size.vocabulary, n_layer=size.layers, n_head=size.heads,
                        n_embd=size.width, dropout=0.0, bias=False)
    ).to(device)  # fmt: skip
    optimizer = torch.optim.AdamW(parameter_groups(net), **ADAMW)
    run: Any = torch.compile(net) if compiled else net
    autocast = torch.autocast("cuda", torch.bfloat16) if on_gpu() else nullcontext()
    batches = on_device(size, device)
    x, y = next(batches)
    going_on = True
    while going_on:
        with autocast:
            _, loss = run(x, y)
        x, y = next(batches)  # nanoGPT fetches the next batch while the GPU is at work
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        going_on = step_done()


def on_device(size: Size, device: str) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches copied from pinned memory without waiting, as nanoGPT's are."""
    batches = size.batches()
    for number in range(len(batches)):
        yield tuple(each.to(device, non_blocking=True) for each in batches[number])


if __name__ == "__main__":
    part(measure)
