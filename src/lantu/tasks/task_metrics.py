"""The metrics of a task over a stage: the mean loss, the config's further metrics, and those of slices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lantu.errors import UserError
from lantu.intervals import log_interval, steps_done
from lantu.loggers import log_table
from lantu.notices import warn_once
from lantu.tasks.interface import TaskInterface
from lantu.tasks.metrics_by_slice import SliceMetrics, table
from lantu.tasks.running_mean import Mean

MEASURED_AT_ONCE = 16
"""Training batches whose loss and outputs are counted together."""
MOST_KEPT = 2**18
"""Numbers of an output and its targets that are kept until then; larger ones are counted at once."""


class TaskMetrics(TaskInterface):
    """Count each batch in the mean loss and the metrics of its stage, and log them when the stage ends."""

    metrics: nn.ModuleDict
    """One MetricCollection per stage: "train", "val", "test"; a stage may be left out."""

    def _add_metrics(self, extra_metrics: Mapping[str, Metric] | None, slices: Sequence[str]) -> None:
        """Create the mean loss and the metrics of every stage; the arguments are those of `Task`."""
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
        self._measures_training = False  # whether they are for more than the mean loss
        self.mean_loss = nn.ModuleDict({f"{stage}_": Mean() for stage in ("train", "val", "test")})
        self._loss_parts = nn.ModuleDict({f"{stage}_": nn.ModuleDict() for stage in ("train", "val", "test")})

    @property
    def slice_columns(self) -> list[str]:
        """The columns for whose values metrics are logged."""
        return self.slices

    def setup(self, stage: str) -> None:
        if not self.slices:
            return
        data = getattr(self.trainer, "datamodule", None)
        if data is None:
            raise UserError(f"`task.slices={self.slices}`: the columns are those of a data module, and there is none.")
        for part in ("val", "test"):
            if part in data.splits:
                slices = {column: data.slice_values(part, column) for column in self.slices}
                self.slice_metrics[f"{part}_"] = SliceMetrics(self._measured_by_slice(part), slices).to(self.device)

    def _measured_by_slice(self, stage: str) -> dict[str, MetricCollection]:
        """The task's own metrics of a stage and those that the config adds, as far as there are any.

        Raises:
            UserError: there are none.
        """
        sets = {"own": self.metrics, "extra": self.extra_metrics}
        collections: Any = {kind: each[f"{stage}_"] for kind, each in sets.items() if f"{stage}_" in each}
        if not collections:
            raise UserError(
                f"`task.slices={self.slices}`: {type(self).__name__} has no metrics to measure for slices; add one "
                "with `task.extra_metrics`."
            )
        return collections

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
        """Give every stage metrics of its own, named `val/accuracy` and so on; each call of `make` makes new ones."""
        for stage in stages:
            metrics = make()
            metrics.prefix = f"{stage}/"
            # ModuleDict refuses "train" and "eval", which are methods of Module
            self.metrics[f"{stage}_"] = metrics

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
            self.observe(self.metrics[f"{stage}_"], detached(output), y)
        if f"{stage}_" in self.extra_metrics:
            self.observe_extra(self.extra_metrics[f"{stage}_"], detached(output), y)

    def log_train_loss(self, loss: Tensor, **parts: Tensor) -> None:
        """Record a training batch's loss as `train/loss`, and further scalars as `train/NAME`, where they are due."""
        if self._is_log_step():
            for name, value in {"loss": loss, **parts}.items():
                shown = name == "loss"
                self.log(f"train/{name}", self._mean_over_ranks(value), prog_bar=shown, on_step=True, on_epoch=False)

    def on_train_epoch_end(self) -> None:
        self._log_stage("train", loss_name="train/loss_epoch")

    def on_validation_epoch_end(self) -> None:
        self._log_stage("val")

    def on_test_epoch_end(self) -> None:
        self._log_stage("test")

    def derived(self, stage: str, loss: Tensor) -> dict[str, Tensor]:
        """Further metrics that follow from a stage's mean loss."""
        return {}

    def _is_log_step(self) -> bool:
        """Whether this step's loss is recorded; those of a run's first steps always are.

        Lightning takes as long to be told of a loss as a small network to train, and ranks would wait for each other at
        every step. So it hears only of those that it passes on.
        """
        if self._trainer is None:
            return False
        every = log_interval(self._trainer)
        steps = steps_done(self._trainer)
        return steps < every or (steps + 1) % every == 0

    def _mean_over_ranks(self, loss: Tensor) -> Tensor:
        """A batch's loss over all ranks."""
        loss = loss.detach()
        return self.trainer.strategy.reduce(loss.clone(), reduce_op="mean") if self.trainer.world_size > 1 else loss

    def _measure_later(self, output: Any, y: Any, loss: Tensor) -> None:
        """Count a training batch with those after it, in the same order and so with the same sums.

        Measuring takes a dozen small operations. Right after a forward pass, which has driven them from the processor's
        caches, they cost three times what they cost one after the other.
        """
        waiting = self._unmeasured
        if not waiting:
            self._measures_training = "train_" in self.metrics or "train_" in self.extra_metrics
        if not self._measures_training:
            output = None
        waiting.append((detached(output), y, loss.detach()))
        if len(waiting) == MEASURED_AT_ONCE or not (_is_small(y) and _is_small(output)):
            self.measure_now()

    def measure_now(self) -> None:
        """Count the training batches that are not counted yet; to be called before a training metric is read."""
        waiting, self._unmeasured = self._unmeasured, []
        for output, y, loss in waiting:
            self.measure(output, y, loss, stage="train")

    def _sum_of(self, parts: dict[str, Tensor], weight: int | Tensor, stage: str) -> Tensor:
        """The sum of a loss's parts; each is logged as `val/NAME`, and `train/NAME` where the loss is."""
        means: Any = self._loss_parts[f"{stage}_"]
        for name, value in parts.items():
            if stage == "train":
                if self._is_log_step():
                    self.log(f"train/{name}", self._mean_over_ranks(value), on_step=True, on_epoch=False)
                continue
            if name not in means:
                means[name] = Mean().to(self.device)
            means[name].add(value.detach(), weight)
        return torch.stack([value.float() for value in parts.values()]).sum()

    def _mean(self, stage: str) -> Mean:
        mean = self.mean_loss[f"{stage}_"]
        assert isinstance(mean, Mean)
        return mean

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
                values |= self._without_undefined(metrics.compute(), loss=loss)
                metrics.reset()
        values |= self._slice_values(stage)
        scalars = {name: value for name, value in values.items() if value.numel() == 1}
        self.log_dict(scalars, prog_bar=False, on_epoch=True, on_step=False)

    def _slice_values(self, stage: str) -> dict[str, Tensor]:
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

    def _without_undefined(self, values: dict[str, Tensor], *, loss: Tensor) -> dict[str, Tensor]:
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


def _is_small(part: Any) -> bool:
    return part is None or (isinstance(part, Tensor) and part.numel() <= MOST_KEPT)


def detached(output: Any) -> Any:
    """An output without its graph, at any depth."""
    if isinstance(output, Tensor):  # by far the commonest, and at every step
        return output.detach()
    return apply_to_collection(output, Tensor, Tensor.detach)
