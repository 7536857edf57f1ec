"""A training step as the config asks for it, on tensors without data, to count its memory and FLOPs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import default_collate

from lantu.config.build import build
from lantu.cost.step_memory import Step
from lantu.errors import UserError
from lantu.models.activation_checkpointing import checkpoint_activations
from lantu.models.gpt import GPT
from lantu.models.sharding import units
from lantu.optim import parameter_groups
from lantu.tasks.task import Task

Batch = Callable[[int], Any]
"""Makes a batch of so many examples, inside `fake_tensors`."""


def step_without_data(cfg: DictConfig, batch: Batch, blocks: int | None, checkpointing: bool) -> Step:
    """Build a step, inside `fake_tensors`.

    Args:
        blocks: layers of the network; None: as many as the config says.
        checkpointing: activations of its repeated parts are computed again in the backward pass.
    """
    sized = cfg if blocks is None else OmegaConf.merge(cfg, {"model": {"layers": blocks}})
    assert isinstance(sized, DictConfig)
    task = task_without_data(sized)
    if checkpointing:
        checkpoint_activations(task.net)
    task.net.train()
    optimizer = build(cfg.optimizer)(parameter_groups(task.net))
    return Step(task.net, optimizer, lambda examples: _loss(task, batch(examples)))


def task_without_data(cfg: DictConfig) -> Task:
    """The task around a network without data. Its metrics are not traced, and hold data as ever."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    net = build(cfg.model)
    adapt = build(cfg.get("peft"))
    if adapt is not None:
        adapt(net)
    with unset_fake_temporarily():
        task: Task = build(cfg.task, net=net, optimizer=build(cfg.optimizer), scheduler=build(cfg.scheduler))
    return task


def repeated_layers(cfg: DictConfig, net: torch.nn.Module) -> int | None:
    """How many equal blocks a GPT has, of which a few are traced; None: the network is traced whole."""
    layers = cfg.model.get("layers")
    alike = isinstance(layers, int) and isinstance(net, GPT) and len(units(net)) == layers
    return layers if alike else None


def resized(real: Any, examples: int) -> Any:
    """Tensors of the shapes of a batch, for another number of examples."""
    if isinstance(real, torch.Tensor):
        return torch.zeros(examples, *real.shape[1:], dtype=real.dtype)
    if isinstance(real, dict):
        return {name: resized(each, examples) for name, each in real.items()}
    if isinstance(real, list | tuple):
        return type(real)(resized(each, examples) for each in real)
    return default_collate([real] * examples)


@contextmanager
def counted(cfg: DictConfig) -> Iterator[None]:
    """Say in a sentence that a step cannot be counted, where it fails on tensors without data.

    Raises:
        UserError: the step reads values of tensors, such as how many boxes an image has.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = f"`model={cfg.choices.get('model')}`" if cfg.get("choices") else str(cfg.model["_target_"])
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise UserError(
            f"the memory and FLOPs of a training step of {what} cannot be counted without running it "
            f"({type(error).__name__}: {reason[:200]}). A run measures them: "
            "`cost/peak_memory_gib`, and an estimate of its duration after ten steps."
        ) from error


def _loss(task: Task, batch: Any) -> torch.Tensor:
    _, loss = task.output_and_loss(*batch, stage="train")
    return sum(loss.values()) if isinstance(loss, dict) else loss  # type: ignore[return-value]
