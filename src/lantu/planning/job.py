"""What a composed config asks to train, without training: sizes, FLOPs and memory of a step."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch.utils.data import default_collate

from lantu.config.build import build
from lantu.config.composing import Composition
from lantu.errors import UserError
from lantu.models.activation_checkpointing import checkpoint_activations
from lantu.models.gpt import GPT
from lantu.models.sharding import units
from lantu.optim import parameter_groups
from lantu.planning.plan import Job
from lantu.planning.step_memory import Step, StepMemory, count_flops, count_weights, fake_tensors, trace
from lantu.tasks.base import Task
from lantu.training.run import publish_facts

Batch = Callable[[int], Any]
"""Makes a batch of so many examples, inside `fake_tensors`."""


def job_of_tokens(composition: Composition, *, tokens: float, context: int, vocab_size: int) -> Job:
    """A language model over so many tokens, of which none is read."""
    cfg = composition.cfg
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
    """Any network on data that are at hand: one batch is read for its shapes.

    Raises:
        UserError: the data or the config do not fit.
    """
    cfg = composition.cfg
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    loader = data.train_dataloader()
    real = next(iter(loader))
    examples = float(len(loader.dataset))
    epochs = _epochs(cfg, examples)
    context = int(cfg.spec.get("context") or 1) if cfg.spec.get("per_token") else 1

    def batch(number: int) -> Any:
        return _resized(real, number)

    return _job(cfg, batch, examples=epochs * examples, context=context)


def _epochs(cfg: DictConfig, examples: float) -> float:
    """How often the data are read, by whichever of epochs and steps ends first; a batch is that of all devices.

    Raises:
        UserError: neither ends.
    """
    trainer, limits = cfg.trainer, []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limits.append(float(trainer.max_epochs))
    if trainer.max_steps is not None and trainer.max_steps >= 0:
        step = cfg.data.batch_size * (trainer.get("accumulate_grad_batches") or 1)
        limits.append(trainer.max_steps * step / examples)
    if not limits:
        raise UserError("training has no end to plan for: set `trainer.max_epochs` or `trainer.max_steps`.")
    return min(limits)


def _job(cfg: DictConfig, batch: Batch, *, examples: float, context: int) -> Job:
    precision = str(cfg.trainer.precision)
    layers = cfg.model.get("layers")
    with fake_tensors():
        net = _task(cfg).net
        is_gpt = isinstance(net, GPT)
        repeats = layers if isinstance(layers, int) and len(units(net)) == layers and is_gpt else None
        parameters = count_weights(net)

    @cache
    def memory(checkpointing: bool) -> StepMemory:
        return trace(lambda blocks: _step(cfg, batch, blocks, checkpointing), precision=precision, repeats=repeats)

    flops = count_flops(lambda blocks: _step(cfg, batch, blocks, False), repeats=repeats)
    return Job(
        network=type(net).__name__,
        parameters=parameters,
        flops_per_example=flops,
        examples=examples,
        context=context,
        precision=precision,
        memory=memory,
        is_gpt=is_gpt,
        repeated_parts=len(units(net)) > 1,
    )


def _step(cfg: DictConfig, batch: Batch, blocks: int | None, checkpointing: bool) -> Step:
    sized = cfg if blocks is None else OmegaConf.merge(cfg, {"model": {"layers": blocks}})
    assert isinstance(sized, DictConfig)
    task = _task(sized)
    if checkpointing:
        checkpoint_activations(task.net)
    task.net.train()
    optimizer = build(cfg.optimizer)(parameter_groups(task.net))
    return Step(task.net, optimizer, lambda examples: _loss(task, batch(examples)))


def _task(cfg: DictConfig) -> Task:
    """The task around a network without data. Its metrics are not traced, and hold data as ever."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    net = build(cfg.model)
    adapt = build(cfg.get("peft"))
    if adapt is not None:
        adapt(net)
    with unset_fake_temporarily():
        task: Task = build(cfg.task, net=net, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler))
    return task


def _loss(task: Task, batch: Any) -> torch.Tensor:
    _, loss = task.output_and_loss(*batch, stage="train")
    return sum(loss.values()) if isinstance(loss, dict) else loss  # type: ignore[return-value]


def _resized(real: Any, examples: int) -> Any:
    """Tensors of the shapes of a batch, for another number of examples."""
    if isinstance(real, torch.Tensor):
        return torch.zeros(examples, *real.shape[1:], dtype=real.dtype)
    if isinstance(real, dict):
        return {name: _resized(each, examples) for name, each in real.items()}
    if isinstance(real, list | tuple):
        return type(real)(_resized(each, examples) for each in real)
    return default_collate([real] * examples)
