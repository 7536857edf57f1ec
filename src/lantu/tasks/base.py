"""What every learning problem shares: the step, the optimizer, the metrics' life."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from lantu.errors import UserError, lacks
from lantu.intervals import log_interval, steps_done
from lantu.loggers import log_table
from lantu.models.sharding import is_sharded, shard
from lantu.notices import warn_once
from lantu.optim import l1_norm
from lantu.tasks.interface import TaskInterface
from lantu.tasks.loss_weighting import Shares
from lantu.tasks.optimization import OptimizerFactory, SchedulerFactory, check_manual, configured
from lantu.tasks.outputs import Outputs
from lantu.tasks.running_mean import Mean
from lantu.tasks.slices import slice_metrics, table

Batch = tuple[Any, ...]
"""Inputs and targets first, each a tensor, a list or a dict; what follows them is for the tasks that know it."""

MEASURED_AT_ONCE = 16
"""Training batches whose loss and outputs are counted together."""
MOST_KEPT = 2**18
"""Numbers of an output and its targets that are kept until then; larger ones are counted at once."""


class Task(TaskInterface):
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

    metrics: nn.ModuleDict
    """One MetricCollection per stage: "train", "val", "test"; a stage may be left out."""

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
        self.metrics = nn.ModuleDict()
        self.extra_metrics = nn.ModuleDict()
        if extra_metrics:
            check_metrics(extra_metrics)
            for stage in ("val", "test"):
                collection = MetricCollection(dict(extra_metrics), compute_groups=False)
                self.extra_metrics[f"{stage}_"] = collection.clone(prefix=f"{stage}/")
        self.slices = list(slices)
        self.slice_metrics = nn.ModuleDict()
        self._unmeasured: list[tuple[Any, Any, Tensor]] = []  # outputs, targets and losses of training batches
        self.mean_loss = nn.ModuleDict({f"{stage}_": Mean() for stage in ("train", "val", "test")})
        self._loss_parts = nn.ModuleDict({f"{stage}_": nn.ModuleDict() for stage in ("train", "val", "test")})

    def setup(self, stage: str) -> None:
        if not self.slices:
            return
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise UserError(f"`task.slices={self.slices}`: the columns are those of a data module, and there is none.")
        for part in ("val", "test"):
            if (metrics := slice_metrics(self, data, part)) is not None:
                self.slice_metrics[f"{part}_"] = metrics.to(self.device)

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
        output = self.answer(x, stage=stage)
        members = getattr(self.net, "members", None) if self.net.training else None
        if members:  # of an ensemble each member learns for itself: (N, members, ...)
            loss = self.loss(output.flatten(0, 1), y.repeat_interleave(members, dim=0), stage=stage)
            return output.mean(dim=1), loss
        return output, self.loss(output, y, stage=stage)

    def collect(self, output: Any, y: Any) -> Outputs | None:
        """What is kept of a batch of validation or test for `figures` and `per_example`; None: nothing.

        The default keeps the network's output as "output" and the targets as "y".
        """
        return {"output": output, "y": y} if self.keeps_outputs else None

    def weight(self, y: Any) -> int | Tensor:
        """How much a batch's mean loss counts in the mean over a stage: the number of what it is a mean of."""
        return len(y)

    def training_weight(self, y: Any) -> int | Tensor:
        """What a training batch's mean loss is a mean over; a tensor, a scalar, where that is not its examples."""
        return self.weight(y)

    def observe(self, metrics: MetricCollection, output: Any, y: Any) -> None:
        """Feed a batch to the metrics of a stage."""
        metrics.update(output, y)

    def observe_extra(self, metrics: MetricCollection, output: Any, y: Any) -> None:
        """Feed a batch to the metrics that the config adds; the default gives them output and targets."""
        metrics.update(output, y)

    def use_metrics(self, make: Callable[[], MetricCollection], *, stages: tuple[str, ...] = ("val", "test")) -> None:
        """Give every stage metrics of its own, named `val/accuracy` and so on."""
        for stage in stages:
            # ModuleDict refuses "train" and "eval", which are methods of Module
            self.metrics[f"{stage}_"] = make().clone(prefix=f"{stage}/")

    def metric_directions(self) -> dict[str, str]:
        """For each metric that says which direction is better (`higher_is_better`): "max" or "min", by `val/name`."""
        found = {}
        for collections in (self.metrics, self.extra_metrics):
            for collection in collections.values():
                for name, metric in collection.items():  # type: ignore[operator]
                    if metric.higher_is_better is not None:
                        found[name] = "max" if metric.higher_is_better else "min"
        return found

    def measure(self, output: Any, y: Any, loss: Tensor, *, stage: str) -> None:
        """Count a batch in the stage's mean loss and metrics. A task with a `training_step` of its own calls it."""
        self._mean(stage).add(loss.detach(), self.training_weight(y) if stage == "train" else self.weight(y))
        if f"{stage}_" in self.metrics:
            self.observe(self.metrics[f"{stage}_"], _detached(output), y)
        if f"{stage}_" in self.extra_metrics:
            self.observe_extra(self.extra_metrics[f"{stage}_"], _detached(output), y)

    def log_train_loss(self, loss: Tensor, **parts: Tensor) -> None:
        """Record a training batch's loss as `train/loss`, and further scalars as `train/NAME`, where they are due."""
        if self._is_shown():
            for name, value in {"loss": loss, **parts}.items():
                shown = name == "loss"
                self.log(f"train/{name}", self._over_ranks(value), prog_bar=shown, on_step=True, on_epoch=False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        _, loss = self._output_and_loss(batch, "train")
        ranks, micro_batches = self._cut()
        if batch_idx % micro_batches == 0:
            self._shares.begin(micro_batches)
        if self._window_may_be_short(batch_idx, micro_batches) and not isinstance(self._shares.weight, Tensor):
            self._shares.weight = torch.tensor(float(self._shares.weight), device=loss.device)
        uneven = isinstance(self._shares.weight, Tensor) and (ranks > 1 or micro_batches > 1)
        share = self._shares.among_ranks(ranks) if uneven else self._share(batch_idx)
        if uneven or share != 1:
            loss = loss * share
        self.log_train_loss(loss)
        if self.l1:
            loss = loss + self.l1 * l1_norm(self.net)
        return loss * self._shares.among_micro_batches() if uneven and micro_batches > 1 else loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Before gradients are clipped: make them those of the whole batch's mean."""
        if self._shares.noted:
            self._shares.correct(self.net.parameters(), divided_by=self._cut()[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        """Measures; returns what `collect` keeps of the batch, with the numbers of its examples as "row"."""
        return self._measured(batch, batch_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        """As `validation_step`."""
        return self._measured(batch, batch_idx, "test")

    def check_trainer(self, trainer: Trainer) -> None:
        """Refuse options of a trainer that the task cannot work with, before anything is recorded.

        Raises:
            UserError: naming the option.
        """
        check_manual(self, trainer)

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
        return configured(net, self.trainer, optimizer=optimizer, scheduler=scheduler, optimizers=optimizers)

    def step_schedules(self) -> None:
        """Step the schedules that change at every step; for tasks with manual optimization, once a batch."""
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "step" and not config.reduce_on_plateau:
                config.scheduler.step()

    def _is_shown(self) -> bool:
        """Whether this step's loss is recorded; those of a run's first steps always are.

        Lightning takes as long to be told of a loss as a small network to train, and ranks would wait for each other at
        every step. So it hears only of those that it passes on.
        """
        if self._trainer is None:
            return False
        every = log_interval(self.trainer)
        steps = steps_done(self.trainer)
        return steps < every or (steps + 1) % every == 0

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

    def _measure_later(self, output: Any, y: Any, loss: Tensor) -> None:
        """Count a training batch with those after it, in the same order and so with the same sums.

        Measuring takes a dozen small operations. Right after a forward pass, which has driven them from the processor's
        caches, they cost three times what they cost one after the other.
        """
        if "train_" not in self.metrics and "train_" not in self.extra_metrics:
            output = None
        self._unmeasured.append((_detached(output), y, loss.detach()))
        held = [each for each in (output, y) if each is not None]
        small = all(isinstance(each, Tensor) and each.numel() <= MOST_KEPT for each in held)
        if not small or len(self._unmeasured) == MEASURED_AT_ONCE:
            self.measure_now()

    def measure_now(self) -> None:
        """Count the training batches that are not counted yet; to be called before a training metric is read."""
        waiting, self._unmeasured = self._unmeasured, []
        for output, y, loss in waiting:
            self.measure(output, y, loss, stage="train")

    def _inputs_and_targets(self, batch: Any) -> tuple[Any, Any]:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            held = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else type(batch).__name__
            raise UserError(
                f"`{type(self).__name__}` takes batches of inputs and targets, `(x, y)`, and got a {held}: change "
                "`collate` of the data module, or override `training_step`, `validation_step` and `test_step`."
            )
        return batch[0], batch[1]

    def _measured(self, batch: Batch, batch_idx: int, stage: str) -> Outputs | None:
        output, _ = self._output_and_loss(batch, stage)
        rows_of_batch = getattr(self._trainer and self._trainer.datamodule, "rows_of_batch", None)
        rows = rows_of_batch(stage, batch_idx) if rows_of_batch else None
        if f"{stage}_" in self.slice_metrics:
            sliced: Any = self.slice_metrics[f"{stage}_"]
            sliced.update(self, _detached(output), batch[1], rows)
        kept = self.collect(_detached(output), batch[1])
        if kept is None:
            return None
        return kept if rows is None else {"row": rows, **kept}

    def _sum_of(self, parts: dict[str, Tensor], weight: int | Tensor, stage: str) -> Tensor:
        """The sum of a loss's parts; each is logged as `val/NAME`, and `train/NAME` where the loss is."""
        means: Any = self._loss_parts[f"{stage}_"]
        for name, value in parts.items():
            if stage == "train":
                if self._is_shown():
                    self.log(f"train/{name}", self._over_ranks(value), on_step=True, on_epoch=False)
                continue
            if name not in means:
                means[name] = Mean().to(self.device)
            means[name].add(value.detach(), weight)
        return torch.stack([value.float() for value in parts.values()]).sum()

    def _mean(self, stage: str) -> Mean:
        mean = self.mean_loss[f"{stage}_"]
        assert isinstance(mean, Mean)
        return mean

    def _window_may_be_short(self, batch_idx: int, micro_batches: int) -> bool:
        """Whether a step's window of accumulated batches is an epoch's last: with fewer batches, or a smaller one."""
        if micro_batches == 1:
            return False
        batches = self.trainer.num_training_batches
        return batches != inf and batch_idx // micro_batches == (int(batches) - 1) // micro_batches

    def _cut(self) -> tuple[int, int]:
        """Into how many ranks and micro-batches a step's batch is cut."""
        trainer = self._trainer
        return (trainer.world_size, trainer.accumulate_grad_batches) if trainer else (1, 1)

    def _share(self, batch_idx: int) -> float:
        """What this rank's mean loss counts in the mean over ranks, some of which may have an example more."""
        weight = getattr(self._trainer and self._trainer.datamodule, "weight", None)
        return weight(batch_idx) if weight else 1.0

    def _log_stage(self, stage: str, *, loss_name: str | None = None) -> None:
        if stage == "train":
            self.measure_now()
        mean = self._mean(stage)
        loss = mean.compute()
        values = {loss_name or f"{stage}/loss": loss, **self.derived(stage, loss)}
        mean.reset()
        parts: Any = self._loss_parts[f"{stage}_"]
        for name, part in parts.items():
            values[f"{stage}/{name}"] = part.compute()
            part.reset()
        for collections in (self.metrics, self.extra_metrics):
            if f"{stage}_" in collections:
                metrics: Any = collections[f"{stage}_"]
                values |= self._knowable(metrics.compute(), loss=loss)
                metrics.reset()
        values |= self._of_slices(stage)
        scalars = {name: value for name, value in values.items() if value.numel() == 1}
        self.log_dict(scalars, prog_bar=False, on_epoch=True, on_step=False)

    def _of_slices(self, stage: str) -> dict[str, Tensor]:
        """The metrics of each slice without those that a slice cannot tell; the test's are kept as a table, too."""
        if f"{stage}_" not in self.slice_metrics:
            return {}
        sliced: Any = self.slice_metrics[f"{stage}_"]
        values = sliced.compute()
        known = {name: value for name, value in values.items() if not value.isnan()}
        if self.trainer.is_global_zero and not self.trainer.sanity_checking:
            if len(known) < len(values):
                warn_once(
                    f"{len(values) - len(known)} of {len(values)} figures of slices cannot be known, since the slice "
                    "lacks a class or has too few examples; they are left out."
                )
            if stage == "test" and not self.trainer.fast_dev_run:
                rows = table({name: float(value) for name, value in known.items()}, sliced.sizes())
                log_table(self.trainer, rows, "tables/slices_test.json")
        return known

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


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Refuse what `task.extra_metrics` holds beside metrics.

    Raises:
        UserError: a value is no metric.
    """
    for name, metric in metrics.items():
        if not isinstance(metric, Metric):
            raise UserError(
                f"`task.extra_metrics.{name}` is {metric!r}, not a metric of torchmetrics: type "
                f"`task.extra_metrics.{name}._target_=torchmetrics.CohenKappa`, say."
            )


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):  # by far the commonest, and at every step
        return output.detach()
    return apply_to_collection(output, Tensor, Tensor.detach)
