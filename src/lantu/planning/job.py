"""What a composed config asks to train, without training: sizes, FLOPs and memory of a step."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from omegaconf import DictConfig, open_dict

from lantu.config.build import build
from lantu.config.composing import Composition
from lantu.cost.step_memory import StepMemory, count_flops, count_weights, fake_tensors, trace
from lantu.errors import UserError
from lantu.models.gpt import GPT
from lantu.models.sharding import units
from lantu.planning.plan import Job
from lantu.training.complete_config import publish_facts
from lantu.training.memory.step_without_data import (
    Batch,
    counted,
    repeated_layers,
    resized,
    step_without_data,
    task_without_data,
)


def job_of_tokens(composition: Composition, *, tokens: float, context: int, vocab_size: int) -> Job:
    """A language model over so many tokens, of which none is read.

    Raises:
        UserError: the config limits what is read in another way.
    """
    cfg = composition.cfg
    for name in ("limit_train_batches", "overfit_batches"):
        if cfg.trainer.get(name):
            raise UserError(f"`tokens=` says how much is read, and `trainer.{name}` does too: leave one of them out.")
    with open_dict(cfg):
        cfg.spec.update(
            vocab_size=vocab_size, outputs=vocab_size, context=context, places=context, end_id=None, boundary_id=None,
            contiguous=False, bytes_per_token=1.0,
        )  # fmt: skip

    def batch(examples: int) -> Any:
        ids = torch.zeros(examples, context, dtype=torch.long)
        return ids, ids

    return _job(cfg, batch, examples=tokens / context, context=context)


def job_of_data(composition: Composition) -> Job:
    """Any network on data that can be read: one batch is read for its shapes.

    Raises:
        UserError: the data or the config do not fit.
    """
    cfg = composition.cfg
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    loader = data.train_dataloader()
    real = next(iter(loader))
    unique = float(len(loader.dataset))
    examples = examples_read(cfg, unique)
    context = int(cfg.spec.get("context") or 1) if cfg.spec.get("per_token") else 1

    def batch(number: int) -> Any:
        return resized(real, number)

    return replace(_job(cfg, batch, examples=examples, context=context), unique_examples=unique)


def examples_read(cfg: DictConfig, examples: float) -> float:
    """How many examples training reads, repeated ones included; a batch is that of all devices.

    Whichever of epochs and steps ends first counts, and of an epoch what `trainer.limit_train_batches` leaves.
    Infinite where only `trainer.max_time` ends it.

    Args:
        examples: of the training split.

    Raises:
        UserError: training does not end.
    """
    trainer, limits = cfg.trainer, []
    epoch = examples
    for name in ("limit_train_batches", "overfit_batches"):
        limit = trainer.get(name)
        if limit:
            epoch = min(epoch, limit * cfg.data.batch_size if isinstance(limit, int) else limit * examples)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limits.append(float(trainer.max_epochs) * epoch)
    if trainer.max_steps is not None and trainer.max_steps >= 0:
        limits.append(float(trainer.max_steps) * cfg.data.batch_size * (trainer.get("accumulate_grad_batches") or 1))
    if not limits and hours_at_most(cfg) is None:
        raise UserError(
            "training has no end to plan for: set `trainer.max_epochs`, `trainer.max_steps` or `trainer.max_time`."
        )
    return min(limits, default=float("inf"))


def hours_at_most(cfg: DictConfig) -> float | None:
    """`trainer.max_time` in hours, as Lightning reads it; None: no time ends the training."""
    limit = cfg.trainer.get("max_time")
    if limit is None:
        return None
    if isinstance(limit, str):
        days, hours, minutes, seconds = ([0, *map(int, limit.split(":"))])[-4:]
        return 24 * days + hours + minutes / 60 + seconds / 3600
    return timedelta(**{str(name): float(value) for name, value in limit.items()}).total_seconds() / 3600


def _job(cfg: DictConfig, batch: Batch, *, examples: float, context: int) -> Job:
    precision = str(cfg.trainer.precision)
    with fake_tensors():
        net = task_without_data(cfg).net
    repeats = repeated_layers(cfg, net)

    @cache
    def memory(checkpointing: bool) -> StepMemory:
        with counted(cfg):
            return trace(
                lambda blocks: step_without_data(cfg, batch, blocks, checkpointing),
                precision=precision, repeats=repeats,
            )  # fmt: skip

    with counted(cfg):
        flops = count_flops(lambda blocks: step_without_data(cfg, batch, blocks, False), repeats=repeats)
    return Job(
        network=type(net).__name__,
        parameters=count_weights(net),
        flops_per_example=flops,
        examples=examples,
        context=context,
        precision=precision,
        memory=memory,
        hours_at_most=hours_at_most(cfg),
        is_gpt=isinstance(net, GPT),
        repeated_parts=len(units(net)) > 1,
    )
