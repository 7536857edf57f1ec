"""A run's model beside simple models on the same rows: the differences, each with an interval."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.data import DataModule
from lantu.decisions.scores import auc, bootstrap_weights
from lantu.errors import UserError
from lantu.intervals import steps_done
from lantu.loggers import log_metrics, log_table
from lantu.tasks import Task
from lantu.tasks.baselines import Baseline, figures_of_classes, figures_of_numbers

LEAST_LOSS = 1e-7
"""Probabilities are kept above it, so that one wrong certainty of a baseline does not make its loss infinite."""


@dataclass(frozen=True)
class Difference:
    """How much better a model is than a baseline in a metric: above 0 it is the better one."""

    metric: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def beside_baselines(
    task: Task, data: DataModule, trainer: Trainer, console: Console | None = None
) -> dict[str, float]:
    """Fit the task's baselines, print and log their test figures and the differences to the model's.

    Returns:
        `baseline/NAME_METRIC` of each, and `baseline/NAME_METRIC_ahead`, by how much the model is better.
    """
    console = console or Console()
    if "test" not in data.splits:
        console.print("baselines   none: there is no test split to compare on")
        return {}
    try:
        found = [each for each in type(task).baselines(data) if "test" in each.answers]
    except UserError as error:
        console.print(f"baselines   none: {escape(str(error))}", soft_wrap=True)
        return {}
    if not found:
        console.print("baselines   none: this task's baselines answer no single examples")
        return {}
    own, y = answers_of(task, data)
    differences = {each.name: ahead(own, each.answers["test"], y) for each in found}
    values: dict[str, float] = {}
    for each in found:
        values |= {f"baseline/{each.name}_{name.partition('/')[2]}": value for name, value in each.metrics.items()
                   if name.startswith("test/")}  # fmt: skip
        for found_difference in differences[each.name]:
            name = f"baseline/{each.name}_{found_difference.metric}_ahead"
            values |= {
                name: found_difference.value,
                f"{name}_low": found_difference.low,
                f"{name}_high": found_difference.high,
            }
    figures = figures_of_classes(own, y) if own.ndim == 2 else figures_of_numbers(own, y, variance=_variance(data))
    _show(console, figures, found, differences)
    log_metrics(trainer, values, step=steps_done(trainer))
    log_table(trainer, _as_table(figures, found, differences), "tables/baselines.json")
    return values


def answers_of(task: Task, data: DataModule, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """A task's probabilities (N, classes), or predictions (N,), and the truth (N,), in the order of the split."""
    answers, truth = [], []
    device = next(task.net.parameters()).device
    task.eval()
    with torch.inference_mode():
        for x, y in data.loader(data.splits[split]):
            outputs: Any = task.predictions(task.answer(x.to(device) if hasattr(x, "to") else x, stage="predict"))
            answers.append(outputs["probability" if "probability" in outputs else "prediction"].float().cpu())
            truth.append(y)
    found, y = torch.cat(answers).double().numpy(), torch.cat(truth)
    if found.shape[1] > 1 or y.ndim == 1:
        return found / found.sum(axis=1, keepdims=True), y.numpy().astype(int)  # in float64 they sum to 1 exactly
    scale = data.spec["target_std"][0], data.spec["target_mean"][0]
    return found[:, 0], (y.double().numpy() * scale[0] + scale[1])[:, 0]


def ahead(own: np.ndarray, other: np.ndarray, y: np.ndarray) -> list[Difference]:
    """By how much one model is better than another on the same examples, with 95% intervals of a paired bootstrap.

    Args:
        own, other: probabilities (N, classes), or predictions (N,); y: truth (N,).
    """
    weights = bootstrap_weights(len(y))
    weights /= len(y)
    losses = _losses(other, y) - _losses(own, y)
    if own.ndim == 1:
        variance = float(np.var(y)) or 1.0
        return [_difference("r2", float(losses.mean()) / variance, weights @ losses / variance)]
    differences = [_difference("loss", float(losses.mean()), weights @ losses)]
    if own.shape[1] == 2 and len(np.unique(y)) == 2:
        once = float((auc(own[:, 1], y) - auc(other[:, 1], y))[0])
        return [_difference("auroc", once, auc(own[:, 1], y, weights) - auc(other[:, 1], y, weights)), *differences]
    hits = (own.argmax(axis=1) == y).astype(float) - (other.argmax(axis=1) == y)
    return [_difference("accuracy", float(hits.mean()), weights @ hits), *differences]


def _difference(metric: str, value: float, draws: np.ndarray) -> Difference:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Difference(metric, value, float(low), float(high))


def _losses(answers: np.ndarray, y: np.ndarray) -> np.ndarray:
    if answers.ndim == 1:
        return (answers - y) ** 2
    return -np.log(np.clip(answers[np.arange(len(y)), y], LEAST_LOSS, 1.0))


def _variance(data: DataModule) -> float:
    return float(data.spec["target_std"][0]) ** 2


def _show(
    console: Console, own: dict[str, float], found: list[Baseline], differences: dict[str, list[Difference]]
) -> None:
    names = [name for name in ("auroc", "accuracy", "r2", "rmse", "loss", "ece") if name in own]
    table = Table(box=None, padding=(0, 2))
    table.add_column("on the same test rows")
    for name in names:
        table.add_column(name, justify="right")
    table.add_row("[bold]this model[/bold]", *(f"{own[name]:.4f}" for name in names))
    for each in found:
        cells = (f"{each.metrics[f'test/{name}']:.4f}" if f"test/{name}" in each.metrics else "" for name in names)
        table.add_row(each.description, *cells)
    console.print("", table)
    for each in found:
        differences_text = ", ".join(f"{one.metric} {one}" for one in differences[each.name])
        console.print(f"ahead of {each.description} (95%): {differences_text}", soft_wrap=True, highlight=False)
    first = differences[found[0].name][0].metric
    lost = [each for each in found if (lead := differences[each.name][0]).high < 0 and lead.metric == first]
    if lost:
        better = f"{' and '.join(each.description for each in lost)} {'is' if len(lost) == 1 else 'are'} better"
        console.print(f"[bold]{better} than this model in {first}, beyond the interval.[/bold]")


def _as_table(
    own: dict[str, float], found: list[Baseline], differences: dict[str, list[Difference]]
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"model": ["this model", *(f"{each.name}: {each.description}" for each in found)]}
    for name, value in own.items():
        columns[name] = [value, *(each.metrics.get(f"test/{name}") for each in found)]
    for place, first in enumerate(differences[found[0].name]):
        columns[f"model's lead in {first.metric}"] = ["", *(str(differences[each.name][place]) for each in found)]
    return columns
