"""GPT-2 of 124 million weights on one GPU: tokens a second and model-FLOPs utilisation of our loop and of nanoGPT's.

Run: python scripts/bench/gpu.py --nanogpt CHECKOUT [--batch 16] [--steps 60] [--rounds 3] [--profile] [--no-compile]
     python scripts/bench/gpu.py --tiny --cpu      # the same code on a small network, to see that it works
CHECKOUT is a clone of karpathy/nanoGPT; without it only our loop is measured. Both train on the same random tokens at
bf16 (float32 on a CPU) with AdamW, clipping and, unless told otherwise, torch.compile; they take turns. A window of
steps is timed between two points where the host has waited for the GPU, after steps in which kernels are compiled and
chosen, and on a GPU that the loop before has left empty. GiB is the most that tensors have held. With --profile the
kernels of a few steps of either loop are listed by the time that they take, which explains a gap.
"""

import argparse
import gc
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lantu.cost import CostMeter
from lantu.cost.work import peak_flops, peak_memory_gib
from lantu.log_noise import without_noise
from lantu.models import GPT
from lantu.optim import parameter_groups
from lantu.tasks import LanguageModeling
from lantu.training import FiniteLoss, LearningRate
from lantu.training.loop.compile import compile_loss, speed_up
from lantu.training.loop.lean_loop import make_lean

SKIPPED = 10
"""Steps before a window: kernels are chosen and memory is asked for."""


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


class RandomTokens(Dataset):
    """Rows (T,) of tokens and those one place on."""

    def __init__(self, size: Size, rows: int) -> None:
        self._tokens = torch.randint(size.vocabulary, (rows, size.context + 1))

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self._tokens[row, :-1], self._tokens[row, 1:]


class Data(LightningDataModule):
    """Enough rows for a window."""

    def __init__(self, rows: Dataset, batch: int) -> None:
        super().__init__()
        self._rows, self._batch = rows, batch

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self._rows, self._batch, pin_memory=torch.cuda.is_available())


class Window(Callback):
    """Times the steps after those that are skipped; `around` is entered with the first and left with the last."""

    def __init__(self, steps: int, around: Any) -> None:
        self._steps, self._around, self._begun, self.seconds = steps, around, 0.0, 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == SKIPPED:
            self._around.__enter__()
            self._begun = now()
        if trainer.global_step == SKIPPED + self._steps:
            self.seconds = now() - self._begun
            self._around.__exit__(None, None, None)


def now() -> float:
    """The time when the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(size: Size, rows: RandomTokens, steps: int, around: Any, *, compiled: bool) -> float:
    """Seconds of a window in Lightning's loop with our task and the callbacks that every run has."""
    torch.manual_seed(0)
    net = GPT(
        size.vocabulary, size.context, width=size.width, layers=size.layers, heads=size.heads, positions="learned",
        norm="layer", mlp="gelu",
    )  # fmt: skip
    speed_up(net, compiled=compiled, channels_last=False)
    optimizer = partial(torch.optim.AdamW, lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    task = LanguageModeling(net, bytes_per_token=1.0, context=size.context, optimizer=optimizer)
    if compiled:
        compile_loss(task)
    window, meter = Window(steps, around), CostMeter(say=False)
    on_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="gpu" if on_gpu else "cpu", devices=1, precision="bf16-mixed" if on_gpu else "32-true",
            max_steps=SKIPPED + steps, gradient_clip_val=1.0, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
            callbacks=[meter, LearningRate(), FiniteLoss(), window],
        )  # fmt: skip
        make_lean(trainer)
        trainer.fit(task, Data(rows, size.batch))
    meter.close()
    return window.seconds


def nanogpt(size: Size, rows: RandomTokens, steps: int, around: Any, *, compiled: bool, checkout: Path) -> float:
    """Seconds of a window in the loop of nanoGPT's train.py, around nanoGPT's own model."""
    sys.path.insert(0, str(checkout))
    model = importlib.import_module("model")

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net: nn.Module = model.GPT(
        model.GPTConfig(block_size=size.context, vocab_size=size.vocabulary, n_layer=size.layers, n_head=size.heads,
                  n_embd=size.width, dropout=0.0, bias=False)
    ).to(device)  # fmt: skip
    optimizer = torch.optim.AdamW(parameter_groups(net), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run: Any = torch.compile(net) if compiled else net
    autocast = torch.autocast("cuda", torch.bfloat16) if device == "cuda" else nullcontext()
    begun = 0.0
    batches = batches_of(rows, size.batch, device)
    x, y = next(batches)
    for step in range(1, SKIPPED + steps + 1):
        with autocast:
            _, loss = run(x, y)
        x, y = next(batches)  # nanoGPT fetches the next batch while the GPU is at work
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == SKIPPED:
            around.__enter__()
            begun = now()
    seconds = now() - begun
    around.__exit__(None, None, None)
    return seconds


def batches_of(rows: RandomTokens, batch: int, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the device, copied without waiting."""
    tokens = rows._tokens
    while True:
        for part in tokens.split(batch):
            both = (part[:, :-1].contiguous(), part[:, 1:].contiguous())
            if device == "cuda":
                yield (
                    both[0].pin_memory().to(device, non_blocking=True),
                    both[1].pin_memory().to(device, non_blocking=True),
                )
            else:
                yield both


@contextmanager
def profiled(title: str) -> Iterator[None]:
    """List the operations of what happens inside by the time that they take."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        yield
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    print(f"{title}:\n{profile.key_averages().table(sort_by=by, row_limit=20, max_name_column_width=60)}")


def main() -> None:
    """Time both loops in turns, and print tokens a second and utilisation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    asked = parser.parse_args()
    if not torch.cuda.is_available() and not asked.cpu:
        parser.error("there is no GPU here; --tiny --cpu shows that the script works")
    if asked.cpu:
        torch.cuda.is_available = lambda: False
    without_noise()
    torch.set_float32_matmul_precision("high")
    size = Size(2, 2, 64, 256, 32, 4) if asked.tiny else Size(12, 12, 768, 50304, 1024, asked.batch)
    rows = RandomTokens(size, size.batch * (SKIPPED + asked.steps))
    compiled = not asked.no_compile and not asked.cpu
    loops: dict[str, Callable[[int, Any], float]] = {
        "ours": lambda steps, around: ours(size, rows, steps, around, compiled=compiled)
    }
    if asked.nanogpt:
        loops["nanoGPT"] = lambda steps, around: nanogpt(
            size, rows, steps, around, compiled=compiled, checkout=asked.nanogpt
        )
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    gib = dict.fromkeys(loops, 0.0)
    for _ in range(asked.rounds):
        for name, loop in loops.items():
            empty_gpu()
            seconds[name].append(loop(asked.steps, nullcontext()) / asked.steps)
            gib[name] = peak_memory_gib(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    Console().print(report(size, seconds, gib))
    if asked.profile:
        for name, loop in loops.items():
            empty_gpu()
            loop(5, profiled(name))


def empty_gpu() -> None:
    """Free what the loop before has left, which lies in reference cycles, so that the next one finds what it found."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def report(size: Size, seconds: dict[str, list[float]], gib: dict[str, float]) -> Table:
    """Medians of the rounds."""
    weights = sum(each.numel() for each in GPT(
        size.vocabulary, 1, width=size.width, layers=size.layers, heads=size.heads, positions="learned", norm="layer",
        mlp="gelu",
    ).parameters())  # fmt: skip  # one place: nanoGPT counts none
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    peak = peak_flops(device, "bf16-mixed")
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    title = f"{weights / 1e6:.1f} million weights, {size.batch} of {size.context} tokens, {where}"
    table = Table("loop", "ms a step", "tokens/s", "utilisation", "GiB", "speed-up", title=title)
    reference = statistics.median(seconds.get("nanoGPT", seconds["ours"]))
    for name, times in seconds.items():
        step = statistics.median(times)
        rate = size.batch * size.context / step
        used = f"{rate * size.flops_per_token(weights) / peak:.1%}" if peak else "not known"
        table.add_row(name, f"{1e3 * step:.2f}", f"{rate:,.0f}", used, f"{gib[name]:.1f}", f"{reference / step:.3f}")
    return table


if __name__ == "__main__":
    main()
