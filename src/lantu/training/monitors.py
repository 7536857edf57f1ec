"""Check, before a run trains, that what is monitored will be logged."""

import inspect
from collections.abc import Iterator, Sequence

import torch
from pytorch_lightning import Callback, Trainer

from lantu.data import DataModule
from lantu.errors import UserError
from lantu.metric_direction import direction
from lantu.slice_names import SLICE, parts_of
from lantu.suggestions import did_you_mean
from lantu.tasks import Task
from lantu.training.callbacks.best_checkpoints import BestCheckpoints
from lantu.training.callbacks.early_stopping import EarlyStopping

DEFAULT = "val/loss"
"""What the best checkpoint is chosen by unless the config or the task says otherwise."""


def check_monitors(callbacks: dict[str, Callback], task: Task, trainer: Trainer, data: DataModule) -> None:
    """Raise a `UserError` for the first callback that monitors what this run does not log.

    Args:
        callbacks: by the name under which they were configured.
        task: says what it logs.
        trainer, data: say whether there is a validation.
    """
    names = logged_names(task)
    for callback in callbacks.values():
        if isinstance(callback, BestCheckpoints) and callback.monitor == DEFAULT:
            callback.monitor = task.best_by
    for name, monitor in _monitored(callbacks):
        option = f"callbacks.{name}.monitor={monitor}"
        if monitor.startswith("val/") and name == "early_stopping" and not _validates(trainer, data):
            raise UserError(f"`{option}`: this run has no validation, so there is nothing to stop early by.")
        if names is not None and monitor not in names and not _of_a_slice(monitor, names, task):
            raise UserError(f"`{option}`: {_refusal(monitor, names)}")
        callback = callbacks[name]
        if isinstance(callback, BestCheckpoints | EarlyStopping) and not callback.has_mode:
            known = task.metric_directions().get(monitor)
            callback.use_mode(known or direction(monitor, option=f"callbacks.{name}.mode"))


def check_objectives(objectives: str | Sequence[str], task: Task) -> None:
    """Raise a `UserError` for an objective of a sweep that its trials do not log; costs and sizes always are."""
    names = logged_names(task)
    for objective in [objectives] if isinstance(objectives, str) else objectives:
        base = objective.removesuffix("_best")
        if names is not None and base.startswith(("val/", "train/", "test/")) and base not in names:
            raise UserError(f"`sweep.objective={objective}`: {_refusal(base, names)}")


def logged_names(task: Task) -> set[str] | None:
    """The metrics that a task will log; None where it alone knows: a user's own, or one whose loss has parts."""
    own = type(task).__module__.startswith("lantu.")
    has_parts = "dict" in str(inspect.signature(type(task).loss).return_annotation)
    if not own or has_parts:
        return None
    names = {"train/loss", "train/loss_epoch", "val/loss", "test/loss"}
    for collections in (task.metrics, task.extra_metrics):
        for collection in collections.values():
            for name, metric in collection.items():  # type: ignore[operator]
                stage, parts = str(name).partition("/")[0], getattr(metric, "parts", None)
                names |= {f"{stage}/{part}" for part in parts} if parts else {str(name)}
    for stage in ("val", "test"):
        try:
            names |= set(task.derived(stage, torch.tensor(1.0)))
        except Exception:  # derived from what the stage has counted, which is nothing yet
            return None
    return names


def _of_a_slice(monitor: str, names: set[str], task: Task) -> bool:
    """Whether a metric is one of a slice that the task measures, such as `val/f1/slice/region/north`."""
    found = parts_of(monitor)
    return found is not None and SLICE in monitor and found[0] in names and found[1] in task.slice_columns


def _monitored(callbacks: dict[str, Callback]) -> Iterator[tuple[str, str]]:
    for name, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str):
            yield name, monitor


def _validates(trainer: Trainer, data: DataModule) -> bool:
    return "val" in data.splits and bool(trainer.limit_val_batches)


def _refusal(monitor: str, names: set[str]) -> str:
    stage = monitor.partition("/")[0]
    shown = sorted(name for name in names if name.startswith(f"{stage}/")) or sorted(names)
    return f"this run does not log that metric.{did_you_mean(monitor, names)} It logs: {', '.join(shown)}."
