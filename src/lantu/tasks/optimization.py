"""Optimizers and schedules of a task: one for the whole network, or one for each of several networks."""

from collections.abc import Callable
from math import ceil, inf
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lantu.errors import UserError
from lantu.models.sharding import is_sharded
from lantu.optim import parameter_groups

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler | ReduceLROnPlateau | None]


def optimizer_config(
    net: nn.Module,
    trainer: pl.Trainer,
    *,
    optimizer: OptimizerFactory,
    scheduler: SchedulerFactory | None,
    optimizers: int = 1,
) -> dict[str, Any]:
    """Return the optimizer of a network with its schedule, as Lightning's `configure_optimizers` does.

    Args:
        net: its weights are optimized; weight decay is taken off biases and norms.
        optimizer: called with parameter groups.
        scheduler: called with the optimizer and `total_steps`; None, or if it gives None: a constant learning rate.
        optimizers: how many a task steps for every batch. Lightning counts all their steps in `trainer.max_steps`, so
            each takes as many less.
    """
    built = optimizer(parameter_groups(net))
    for group in built.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)
    allow_clipping(built, trainer)
    if is_sharded(net) and isinstance(built, SGD):  # of those, torch has a fused step in Adam only
        for group in built.param_groups:
            group["fused"] = False
    if scheduler is None:
        return {"optimizer": built}
    steps = trainer.estimated_stepping_batches
    if steps != inf and trainer.max_steps > 0 and steps == trainer.max_steps:
        steps = ceil(steps / optimizers)
    schedule = scheduler(built, total_steps=-1 if steps == inf else int(steps))
    if schedule is None:
        return {"optimizer": built}
    if isinstance(schedule, ReduceLROnPlateau):
        return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def allow_clipping(optimizer: Any, trainer: pl.Trainer) -> None:
    """Let gradients of a fused optimizer be clipped at bf16-mixed precision.

    Lightning refuses that at any mixed precision, since such an optimizer unscales gradients itself. Only 16-mixed
    scales; at bf16-mixed there is nothing to unscale.

    Raises:
        UserError: the precision is 16-mixed.
    """
    if not trainer.gradient_clip_val or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return
    if str(trainer.precision) == "16-mixed":
        raise UserError(
            "`trainer.gradient_clip_val` with `trainer.precision=16-mixed` needs an optimizer that is not fused: "
            "add `optimizer.fused=false`, or use `trainer.precision=bf16-mixed`."
        )
    optimizer._step_supports_amp_scaling = False


def check_manual(task: pl.LightningModule, trainer: pl.Trainer) -> None:
    """Refuse trainer options that a task with manual optimization has to do itself.

    Raises:
        UserError: naming the option, and what the task would call instead.
    """
    if task.automatic_optimization:
        return
    name = type(task).__name__
    if trainer.gradient_clip_val:
        raise UserError(
            f"`trainer.gradient_clip_val={trainer.gradient_clip_val}`: {name} steps its optimizers itself "
            "(`automatic_optimization = False`), so the trainer cannot clip for it: leave the option out. The task "
            "clips by calling `self.clip_gradients(optimizer, gradient_clip_val=...)` before a step."
        )
    if trainer.accumulate_grad_batches != 1:
        raise UserError(
            f"`trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}`: {name} steps its optimizers itself "
            "(`automatic_optimization = False`), so the trainer cannot sum gradients for it: leave the option out, "
            "and take a larger `data.batch_size`."
        )
