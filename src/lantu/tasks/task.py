"""What every learning problem shares: the steps, the loss and the optimizer. `task_metrics` has the metrics."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from lantu.errors import UserError, lacks
from lantu.models.sharding import is_sharded, shard
from lantu.optim import l1_norm
from lantu.tasks.loss_weighting import Shares
from lantu.tasks.optimization import OptimizerFactory, SchedulerFactory, check_manual, optimizer_config
from lantu.tasks.outputs import Outputs
from lantu.tasks.task_metrics import TaskMetrics, detached

Batch = tuple[Any, ...]
"""Inputs and targets first, each a tensor, a list or a dict; what follows them is for the tasks that know it."""


class Task(TaskMetrics):
    """A network, its loss and its metrics. A subclass says what the loss is and what the metrics are fed.

    What a task answers for beside that (predictions, figures, samples, baselines) is in `TaskInterface`.

    Args:
        net: any module whose forward takes the batch's first part.
        optimizer: called with parameter groups; weight decay is taken off biases and norms. None: cannot train.
        scheduler: called with the optimizer and `total_steps`; None, or an answer of None, keeps the learning rate.
        l1: weight of the sum of absolute weights (matrices only) in the training objective.
        extra_metrics: further metrics of torchmetrics by name, measured in validation and test; each is fed what
            `observe_extra` says, such as the probabilities of all classes.
        slices: columns of the data for each of whose values (numbers and dates: quarters) validation and test measure
            the metrics as well: `test/f1/slice/region/north`. The columns need not be learned from.
    """

    loss_is_by_example = True
    """Whether the loss of a batch is a mean over its examples (or tokens), each by itself, so that it can be cut."""

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        l1: float = 0.0,
        extra_metrics: Mapping[str, Metric] | None = None,
        slices: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.l1 = l1
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._shares = Shares()
        self._add_metrics(extra_metrics, slices)

    def configure_model(self) -> None:
        """Split the network's weights over the devices, where the trainer's strategy is to do so."""
        if self.device_mesh is not None and not is_sharded(self.net):
            bf16 = str(self.trainer.precision) == "bf16-mixed"
            shard(self.net, self.device_mesh["data_parallel"], bf16=bf16)

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def loss(self, output: Any, y: Any, *, stage: str) -> Tensor | dict[str, Tensor]:
        """The mean loss of a batch, a scalar; or its parts by name, whose sum it is and which are logged as well.

        Args:
            output: what `answer` gave.
            y: the batch's targets.
            stage: "train", "val" or "test".
        """
        raise lacks(self, "loss", "to train")

    def answer(self, x: Any, *, stage: str) -> Any:
        """The network's output for a batch."""
        return self.net(x)

    def output_and_loss(self, x: Any, y: Any, *, stage: str) -> tuple[Any, Tensor | dict[str, Tensor]]:
        """A batch's output and its loss; to be overridden for networks that compute their loss themselves."""
        net, output = self.net, self.answer(x, stage=stage)
        members = vars(net).get("members") if net.training else None  # a Module takes long to say what it lacks
        if members:  # of an ensemble each member learns for itself: (N, members, ...)
            loss = self.loss(output.flatten(0, 1), y.repeat_interleave(members, dim=0), stage=stage)
            return output.mean(dim=1), loss
        return output, self.loss(output, y, stage=stage)

    def collect(self, output: Any, y: Any) -> Outputs | None:
        """What is kept of a batch of validation or test for `figures` and `per_example`; None: nothing.

        The default keeps the network's output as "output" and the targets as "y".
        """
        return {"output": output, "y": y} if self.keeps_outputs else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        _, loss = self._output_and_loss(batch, "train")
        ranks, micro_batches = self._ranks_and_micro_batches()
        if ranks == micro_batches == 1:  # nothing to share: the batch is the step's
            return self._whole_step(loss)
        if batch_idx % micro_batches == 0:
            self._shares.begin(micro_batches)
        if self._window_may_be_short(batch_idx, micro_batches) and not isinstance(self._shares.weight, Tensor):
            self._shares.weight = torch.tensor(float(self._shares.weight), device=loss.device)
        uneven = isinstance(self._shares.weight, Tensor) and (ranks > 1 or micro_batches > 1)
        share = self._shares.among_ranks(ranks) if uneven else self._rank_share(batch_idx)
        if uneven or share != 1:
            loss = loss * share
        self.log_train_loss(loss)
        if self.l1:
            loss = loss + self.l1 * l1_norm(self.net)
        return loss * self._shares.among_micro_batches() if uneven and micro_batches > 1 else loss

    def _whole_step(self, loss: Tensor) -> Tensor:
        """Log and return the loss of a step whose batch is neither cut into ranks nor into micro-batches."""
        self.log_train_loss(loss)
        return loss + self.l1 * l1_norm(self.net) if self.l1 else loss

    def idle_hooks(self, trainer: Trainer) -> set[str]:
        """Hooks of this class that do nothing in this trainer's steps, so that the lean loop need not call them."""
        cut = trainer.world_size > 1 or trainer.accumulate_grad_batches > 1
        own = type(self).on_before_optimizer_step is not Task.on_before_optimizer_step
        return set() if cut or own else {"on_before_optimizer_step"}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Before gradients are clipped: make them those of the whole batch's mean."""
        if self._shares.noted:
            self._shares.correct(self.net.parameters(), divided_by=self._ranks_and_micro_batches()[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        """Measures; returns what `collect` keeps of the batch, with the numbers of its examples as "row"."""
        return self._evaluation_step(batch, batch_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        """As `validation_step`."""
        return self._evaluation_step(batch, batch_idx, "test")

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse options of a trainer that the task cannot work with, before anything is recorded.

        Raises:
            UserError: naming the option.
        """
        check_manual(self, trainer)

    def on_validation_start(self) -> None:
        self._broadcast_buffers()

    def on_test_start(self) -> None:
        self._broadcast_buffers()

    def configure_optimizers(self) -> Any:
        return self.optimizer_of(self.net)

    def optimizer_of(
        self,
        net: nn.Module,
        *,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        optimizers: int = 1,
    ) -> dict[str, Any]:
        """An optimizer with its schedule for a part of the task, for `configure_optimizers`.

        A task with several returns a list of these, sets `automatic_optimization = False` and steps them itself.

        Args:
            net: the part whose weights it optimizes.
            optimizer, scheduler: None: those of the config, `optimizer=...` and `scheduler=...`.
            optimizers: how many the task has.
        """
        optimizer, scheduler = optimizer or self._optimizer, scheduler or self._scheduler
        assert optimizer is not None, "a task without an optimizer can evaluate, not train"
        return optimizer_config(net, self.trainer, optimizer=optimizer, scheduler=scheduler, optimizers=optimizers)

    def step_schedules(self) -> None:
        """Step the schedules that change at every step; for tasks with manual optimization, once a batch."""
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "step" and not config.reduce_on_plateau:
                config.scheduler.step()

    def _broadcast_buffers(self) -> None:
        """Let all ranks measure with rank zero's buffers, such as running means: a checkpoint keeps those."""
        if self.trainer.world_size > 1:
            for module in self.net.modules():
                for name, buffer in module.named_buffers(recurse=False):
                    if name not in module._non_persistent_buffers_set:
                        torch.distributed.broadcast(buffer, src=0)

    def _output_and_loss(self, batch: Batch, stage: str) -> tuple[Any, Tensor]:
        x, y = self._inputs_and_targets(batch)
        output, loss = self.output_and_loss(x, y, stage=stage)
        weight = self.training_weight(y) if stage == "train" else self.weight(y)
        if isinstance(loss, dict):
            loss = self._sum_of(loss, weight, stage)
        if stage == "train":
            self._shares.weight = weight
            self._measure_later(output, y, loss)
        else:
            self.measure(output, y, loss, stage=stage)
        return output, loss

    def _inputs_and_targets(self, batch: Any) -> tuple[Any, Any]:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            held = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
            raise UserError(
                f"`{type(self).__name__}` takes batches of inputs and targets, `(x, y)`, and got a {held}: change "
                "`collate` of the data module, or override `training_step`, `validation_step` and `test_step`."
            )
        return batch[0], batch[1]

    def _evaluation_step(self, batch: Batch, batch_idx: int, stage: str) -> Outputs | None:
        output, _ = self._output_and_loss(batch, stage)
        rows_of_batch = getattr(self._trainer and self._trainer.datamodule, "rows_of_batch", None)
        rows = rows_of_batch(stage, batch_idx) if rows_of_batch else None
        if f"{stage}_" in self.slice_metrics:
            sliced: Any = self.slice_metrics[f"{stage}_"]
            sliced.update(self, detached(output), batch[1], rows)
        kept = self.collect(detached(output), batch[1])
        if kept is None:
            return None
        return kept if rows is None else {"row": rows, **kept}

    def _window_may_be_short(self, batch_idx: int, micro_batches: int) -> bool:
        """Whether a step's window of accumulated batches is an epoch's last: with fewer batches, or a smaller one."""
        if micro_batches == 1:
            return False
        batches = self.trainer.num_training_batches
        return batches != inf and batch_idx // micro_batches == (int(batches) - 1) // micro_batches

    def _ranks_and_micro_batches(self) -> tuple[int, int]:
        """Into how many ranks and micro-batches a step's batch is cut."""
        trainer = self._trainer
        return (trainer.world_size, trainer.accumulate_grad_batches) if trainer else (1, 1)

    def _rank_share(self, batch_idx: int) -> float:
        """What this rank's mean loss counts in the mean over ranks, some of which may have an example more."""
        weight = getattr(self._trainer and self._trainer.datamodule, "weight", None)
        return weight(batch_idx) if weight else 1.0
