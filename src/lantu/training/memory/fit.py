"""`trainer.memory`: cut the batch and recompute activations so that a step fits, without changing the result."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from lantu.config.build import build
from lantu.cost.step_memory import GIB, RESERVED, StepMemory, fake_tensors, has_batch_norm, trace
from lantu.data import DataModule
from lantu.data.samplers import TrainingBatches
from lantu.errors import UserError
from lantu.models.sharding import units
from lantu.training.callbacks.rng_state import random_state, set_random_state
from lantu.training.distributed.fsdp2 import Sharded
from lantu.training.memory.step_without_data import counted, repeated_layers, resized, step_without_data
from lantu.training.memory.step_without_data import task_without_data as task_of

TRUSTED = 0.9
"""Share of the memory that a counted step may take: counts lie within a tenth of what real steps hold."""
OF_THE_MACHINE = 0.75
"""Share of a machine's memory that a training on its processor is assumed to get."""
BATCH_LIMITS = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "overfit_batches",
    "val_check_interval",
)
"""Options of the trainer that count batches where they are whole numbers."""


@dataclass(frozen=True)
class Limit:
    """The memory that a step may take on each device."""

    bytes: float
    source: str
    """Where the figure comes from, for a reader."""


@dataclass(frozen=True)
class Choice:
    """How a batch is made to fit."""

    parts: int
    """Micro-batches that a device computes one after the other for one step of the optimizer."""
    checkpointing: bool
    bytes: float
    """What a step takes on each device, as counted."""


def fit_memory(cfg: DictConfig, data: DataModule) -> None:
    """Choose gradient accumulation and activation checkpointing for `trainer.memory`, and write them into the config.

    The batch of all devices and the examples in it stay the same. Nothing is done without the option.

    Args:
        cfg: with the data's facts filled in; no object but the data has been built from it.
        data: after `setup`.

    Raises:
        UserError: the step cannot be counted, or does not fit in any way.
    """
    if cfg.trainer.get("memory") is None:
        return
    trainer: Trainer = build(cfg.trainer, logger=False)
    devices = trainer.num_devices * trainer.num_nodes
    limit = memory_limit(cfg.trainer.memory, trainer)
    with _random_state_kept():
        choice, whole = _choice(cfg, data, limit, devices=devices, sharded=isinstance(trainer.strategy, Sharded))
    batch = int(cfg.data.batch_size)
    if choice.parts > 1:
        data.cut_batches(choice.parts)
        cfg.data.batch_size = batch // choice.parts
        cfg.trainer.accumulate_grad_batches = choice.parts * (cfg.trainer.get("accumulate_grad_batches") or 1)
        for name in BATCH_LIMITS:
            if isinstance(cfg.trainer.get(name), int) and cfg.trainer[name] > 0:
                cfg.trainer[name] *= choice.parts
    cfg.activation_checkpointing = choice.checkpointing
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(f"lantu: {_sentence(cfg, choice, limit, batch=batch, whole=whole)}", file=sys.stderr, flush=True)


def choose(
    memory: Callable[[bool], StepMemory],
    limit: float,
    *,
    examples: int,
    may_cut: bool,
    may_checkpoint: bool,
    must_checkpoint: bool = False,
    **shared: Any,
) -> Choice | None:
    """The first way that fits; None: none does.

    Cutting a batch computes nothing twice, so it is tried before checkpointing, which makes a step a third longer.

    Args:
        memory: of a step, with activations kept (False) or computed again (True).
        limit: bytes on each device.
        examples: of the batch on one device.
        shared: options of `StepMemory.total`.
    """
    for checkpointing in (True,) if must_checkpoint else (False, True) if may_checkpoint else (False,):
        for parts in [each for each in range(1, examples + 1) if examples % each == 0] if may_cut else [1]:
            needed = memory(checkpointing).total(examples // parts, **shared)
            if needed <= TRUSTED * limit:
                return Choice(parts, checkpointing, needed)
    return None


def memory_limit(asked: float | str, trainer: Trainer) -> Limit:
    """The memory for a step on each device: as typed, of the GPU, or a share of the machine's."""
    if not isinstance(asked, str):
        return Limit(asked * GIB, f"`trainer.memory={asked:g}`")
    if trainer.strategy.root_device.type == "cuda":
        # what is free: others may use the same GPU
        gpu = float(min(torch.cuda.mem_get_info(each)[0] for each in range(torch.cuda.device_count())))
        name = torch.cuda.get_device_name(0)
        return Limit(gpu - RESERVED, f"{name}, of whose {gpu / GIB:.1f} free GiB one is left to CUDA")
    total = machine_memory()
    here = OF_THE_MACHINE * total / trainer.num_devices
    of = "" if trainer.num_devices == 1 else f", divided among {trainer.num_devices} processes"
    return Limit(
        here,
        f"assumed: {OF_THE_MACHINE:.0%} of this machine's {total / GIB:.1f} GiB{of}; `trainer.memory=4` sets 4 GiB",
    )


def machine_memory() -> float:
    """Bytes that this process's machine or container has."""
    import psutil

    total = float(psutil.virtual_memory().total)
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(file).read_text().strip() if os.access(file, os.R_OK) else ""
        if text.isdigit():
            total = min(total, float(text))
    return total


def _choice(cfg: DictConfig, data: DataModule, limit: Limit, *, devices: int, sharded: bool) -> tuple[Choice, float]:
    """The choice, and the bytes of a step over the whole batch without it."""
    if data.training_batches is not TrainingBatches or cfg.get("privacy"):
        raise UserError(
            f"`trainer.memory={cfg.trainer.memory}` counts a step over `data.batch_size` examples, and this run draws "
            "batches of varying size: leave the option out."
        )
    real = next(iter(data.train_dataloader()))
    with counted(cfg), fake_tensors():
        task = task_of(cfg)
    if not task.automatic_optimization:
        raise UserError(
            f"`trainer.memory={cfg.trainer.memory}` counts a step of one loss and one optimizer, and "
            f"{type(task).__name__} steps its optimizers itself: leave the option out."
        )
    net, repeats = task.net, repeated_layers(cfg, task.net)

    @cache
    def memory(checkpointing: bool) -> StepMemory:
        with counted(cfg):
            return trace(
                lambda blocks: step_without_data(cfg, lambda number: resized(real, number), blocks, checkpointing),
                precision=str(cfg.trainer.precision), repeats=repeats,
            )  # fmt: skip

    fixed = _why_not_cut(cfg, data, task)
    share = 0.5 if "16" in str(cfg.trainer.precision) else 1.0
    shared: dict[str, Any] = {"devices": devices, "sharded": sharded, "gathered_share": share}
    examples = int(cfg.data.batch_size) // devices
    must = bool(cfg.activation_checkpointing)
    can_recompute = len(units(net)) > 1
    whole = memory(must).total(examples, **shared)
    choice = choose(
        memory, limit.bytes, examples=examples, may_cut=not fixed, may_checkpoint=can_recompute, must_checkpoint=must,
        **shared,
    )  # fmt: skip
    if choice is None:
        smallest = memory(must or can_recompute).total(examples if fixed else 1, **shared)
        why = f" The batch is not cut, because {fixed}." if fixed else ""
        what = f"the batch of {examples}" if fixed else "one example"
        raise UserError(
            f"a step over {what} takes {_size(smallest)} on each device, and there are {_size(limit.bytes)} "
            f"({limit.source}), of which {1 - TRUSTED:.0%} are kept free.{why} Take a smaller `data.batch_size`, a "
            f"smaller network or shorter examples"
            f"{', or `trainer=fsdp` on several GPUs' if not sharded else ''}."
        )
    return choice, whole


def _why_not_cut(cfg: DictConfig, data: DataModule, task: Any) -> str:
    """Why a step over micro-batches would not be the step over the batch; empty: it would be."""
    if has_batch_norm(task.net):
        return "batch norm takes its statistics from what is computed at once"
    if not task.loss_is_by_example:
        return f"{type(task).__name__} compares the examples of a batch with each other"
    if OmegaConf.select(cfg, "fairness.mitigation") == "constraint":
        return "`fairness.mitigation=constraint` compares the groups within a batch with each other"
    return data.why_not_cut()


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """What is counted draws no random numbers of the training's."""
    device = torch.device("cpu")
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)


def _sentence(cfg: DictConfig, choice: Choice, limit: Limit, *, batch: int, whole: float) -> str:
    there = f"{_size(limit.bytes)} ({limit.source})"
    asked = f"`trainer.memory={cfg.trainer.memory}`: a step over a batch of {batch} is counted to take {_size(whole)}"
    if choice.bytes == whole:
        return f"{asked}, and fits in {there}. Nothing is changed."
    ways = []
    if choice.parts > 1:
        ways.append(
            f"batches of {batch // choice.parts} are summed up to {batch} "
            f"(`data.batch_size={cfg.data.batch_size} "
            f"trainer.accumulate_grad_batches={cfg.trainer.accumulate_grad_batches}`)"
        )
    if choice.checkpointing:
        ways.append("activations are computed again (`activation_checkpointing=true`)")
    return (
        f"{asked}, too much for {there}. So {' and '.join(ways)}: the result is the same, and a step takes "
        f"{_size(choice.bytes)}."
    )


def _size(number: float) -> str:
    return f"{number / GIB:.1f} GiB" if number >= GIB else f"{number / 2**20:.1f} MiB"
