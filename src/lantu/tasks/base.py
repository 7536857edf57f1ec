"""What every learning problem shares: the step, the optimizer, the metrics' life."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric, MetricCollection

from lantu.errors import UserError
from lantu.intervals import log_interval
from lantu.models.sharding import is_sharded, shard
from lantu.notices import warn_once
from lantu.optim import l1_norm, parameter_groups
from lantu.tasks.loss_weighting import Shares
from lantu.tasks.running_mean import Mean

Batch = tuple[Tensor, ...]
"""Inputs and targets first; what follows them is for the tasks that know it."""
OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]
SchedulerFactory = Callable[..., LRScheduler | ReduceLROnPlateau | None]


class Task(pl.LightningModule):
    """A network, its loss and its metrics. A subclass says what the loss is and what the metrics are fed.

    Args:
        net: any module whose forward takes the batch's first tensor.
        optimizer: called with parameter groups; weight decay is taken off biases and norms. None: cannot train.
        scheduler: called with the optimizer and `total_steps`; None, or an answer of None, keeps the learning rate.
        l1: weight of the sum of absolute weights (matrices only) in the training objective.
    """

    metrics: nn.ModuleDict
    """One MetricCollection per stage: "train", "val", "test"; a stage may be left out."""
    keeps_outputs = True
    """Whether a test batch's outputs are small enough to be kept for pictures."""
    answers = True
    """Whether a trained model is of use as it is; False: only to be fine-tuned for another task."""

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        l1: float = 0.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.l1 = l1
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._shares = Shares()
        self.metrics = nn.ModuleDict()
        self.mean_loss = nn.ModuleDict({f"{stage}_": Mean() for stage in ("train", "val", "test")})

    def configure_model(self) -> None:
        """Split the network's weights over the devices, where the trainer's strategy is to do so."""
        if self.device_mesh is not None and not is_sharded(self.net):
            bf16 = str(self.trainer.precision) == "bf16-mixed"
            shard(self.net, self.device_mesh["data_parallel"], bf16=bf16)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        """The mean loss of a batch, a scalar; `stage` is "train", "val" or "test"."""
        raise NotImplementedError(f"{type(self).__name__} must say what its loss is")

    def answer(self, x: Tensor, *, stage: str) -> Tensor:
        """The network's output for a batch."""
        return self.net(x)

    def weight(self, y: Tensor) -> int | Tensor:
        """How much a batch's mean loss counts in the mean over a stage: the number of what it is a mean of."""
        return len(y)

    def training_weight(self, y: Tensor) -> int | Tensor:
        """What a training batch's mean loss is a mean over; a tensor, a scalar, where that is not its examples."""
        return self.weight(y)

    def observe(self, metrics: Metric | MetricCollection, output: Tensor, y: Tensor) -> None:
        """Feed a batch to the metrics of a stage."""
        metrics.update(output, y)

    def use_metrics(self, make: Callable[[], MetricCollection], *, stages: tuple[str, ...] = ("val", "test")) -> None:
        """Give every stage metrics of its own, named `val/accuracy` and so on."""
        for stage in stages:
            # ModuleDict refuses "train" and "eval", which are methods of Module
            self.metrics[f"{stage}_"] = make().clone(prefix=f"{stage}/")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        _, loss = self._output_and_loss(batch, "train")
        ranks, micro_batches = self._cut()
        if batch_idx % micro_batches == 0:
            self._shares.begin(micro_batches)
        uneven = isinstance(self._shares.weight, Tensor) and (ranks > 1 or micro_batches > 1)
        share = self._shares.among_ranks(ranks) if uneven else self._share(batch_idx)
        if uneven or share != 1:
            loss = loss * share
        if self._is_shown():
            self.log("train/loss", self._over_ranks(loss), prog_bar=True, on_step=True, on_epoch=False)
        if self.l1:
            loss = loss + self.l1 * l1_norm(self.net)
        return loss * self._shares.among_micro_batches() if uneven and micro_batches > 1 else loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Before gradients are clipped: make them those of the whole batch's mean."""
        if self._shares.noted:
            self._shares.correct(self.net.parameters(), divided_by=self._cut()[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._output_and_loss(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor] | None:
        """Measures; returns the batch's outputs for callbacks that draw them."""
        output, _ = self._output_and_loss(batch, "test")
        return {"output": output.detach(), "y": batch[1]} if self.keeps_outputs else None

    def on_validation_start(self) -> None:
        self._agree()

    def on_test_start(self) -> None:
        self._agree()

    def on_train_epoch_end(self) -> None:
        self._log_stage("train", loss_name="train/loss_epoch")

    def on_validation_epoch_end(self) -> None:
        self._log_stage("val")

    def on_test_epoch_end(self) -> None:
        self._log_stage("test")

    def derived(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        """Further metrics that follow from a stage's mean loss."""
        return {}

    def configure_optimizers(self) -> Any:
        assert self._optimizer is not None, "a task without an optimizer can evaluate, not train"
        optimizer = self._optimizer(parameter_groups(self.net))
        self._allow_clipping(optimizer)
        if is_sharded(self.net) and isinstance(optimizer, SGD):  # of those, torch has a fused step in Adam only
            for group in optimizer.param_groups:
                group["fused"] = False
        if self._scheduler is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        scheduler = self._scheduler(optimizer, total_steps=-1 if steps == inf else int(steps))
        if scheduler is None:
            return optimizer
        if isinstance(scheduler, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _is_shown(self) -> bool:
        """Whether this step's loss is recorded; those of a run's first steps always are.

        Lightning takes as long to be told of a loss as a small network to train, and ranks would wait for each other at
        every step. So it hears only of those that it passes on.
        """
        if self._trainer is None:
            return False
        every = log_interval(self.trainer)
        return self.global_step < every or (self.global_step + 1) % every == 0

    def _over_ranks(self, loss: Tensor) -> Tensor:
        """A batch's loss over all ranks."""
        loss = loss.detach()
        return self.trainer.strategy.reduce(loss.clone(), reduce_op="mean") if self.trainer.world_size > 1 else loss

    def _agree(self) -> None:
        """Let all ranks measure with rank zero's buffers, such as running means: a checkpoint keeps those."""
        if self.trainer.world_size > 1:
            for module in self.net.modules():
                for name, buffer in module.named_buffers(recurse=False):
                    if name not in module._non_persistent_buffers_set:
                        torch.distributed.broadcast(buffer, src=0)

    def _allow_clipping(self, optimizer: Any) -> None:
        """Lightning refuses to clip gradients of a fused optimizer at mixed precision, since it unscales them itself.

        Only 16-mixed scales; at bf16-mixed there is nothing to unscale, and clipping is sound.
        """
        if not self.trainer.gradient_clip_val or not getattr(optimizer, "_step_supports_amp_scaling", False):
            return
        if str(self.trainer.precision) == "16-mixed":
            raise UserError(
                "`trainer.gradient_clip_val` with `trainer.precision=16-mixed` needs an optimizer that is not fused: "
                "add `optimizer.fused=false`, or use `trainer.precision=bf16-mixed`."
            )
        optimizer._step_supports_amp_scaling = False

    def _output_and_loss(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        x, y = batch
        output = self.answer(x, stage=stage)
        loss = self.loss(output, y, stage=stage)
        mean: Any = self.mean_loss[f"{stage}_"]
        weight = self.training_weight(y) if stage == "train" else self.weight(y)
        mean.add(loss.detach(), weight)
        if stage == "train":
            self._shares.weight = weight
        if f"{stage}_" in self.metrics:
            self.observe(self.metrics[f"{stage}_"], output.detach(), y)
        return output, loss

    def _cut(self) -> tuple[int, int]:
        """Into how many ranks and micro-batches a step's batch is cut."""
        trainer = self._trainer
        return (trainer.world_size, trainer.accumulate_grad_batches) if trainer else (1, 1)

    def _share(self, batch_idx: int) -> float:
        """What this rank's mean loss counts in the mean over ranks, some of which may have an example more."""
        weight = getattr(self._trainer and self._trainer.datamodule, "weight", None)
        return weight(batch_idx) if weight else 1.0

    def _log_stage(self, stage: str, *, loss_name: str | None = None) -> None:
        mean: Any = self.mean_loss[f"{stage}_"]
        mean_loss = mean.compute()
        values = {loss_name or f"{stage}/loss": mean_loss, **self.derived(stage, mean_loss)}
        mean.reset()
        if f"{stage}_" in self.metrics:
            metrics: Any = self.metrics[f"{stage}_"]
            values |= self._knowable(metrics.compute(), loss=mean_loss)
            metrics.reset()
        scalars = {name: value for name, value in values.items() if value.numel() == 1}
        self.log_dict(scalars, prog_bar=False, on_epoch=True, on_step=False)

    def _knowable(self, values: dict[str, Tensor], *, loss: Tensor) -> dict[str, Tensor]:
        """The metrics without those that are NaN although the loss is a number: the split cannot tell them."""
        if not loss.isfinite():
            return values
        unknown = [name for name, value in values.items() if value.numel() == 1 and bool(value.isnan())]
        if unknown and self.trainer.is_global_zero and not self.trainer.sanity_checking:
            warn_once(
                f"{', '.join(unknown)} cannot be known from this split (it lacks a class, or its rows are few or all "
                "alike), so the figure is left out."
            )
        return {name: value for name, value in values.items() if name not in unknown}
