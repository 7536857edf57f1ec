"""Save and restore the running state of metrics, for checkpoints inside an epoch."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

CPU = torch.device("cpu")
Sums = dict[str, dict[str, Any]]
"""By the metric's name in the module: its update count and its state."""


def collect(module: nn.Module) -> Sums:
    """Collect the state of a module's metrics that have been updated since their last reset."""
    measure_now: Any = getattr(module, "measure_now", None)
    if measure_now:
        measure_now()
    for collection in module.modules():
        if isinstance(collection, MetricCollection):
            list(collection.values(copy_state=False))  # syncs the states that metrics of a compute group share
    return {
        name: {
            "updates": metric._update_count,
            "state": {key: _on(CPU, value) for key, value in metric.metric_state.items()},
        }
        for name, metric in module.named_modules()
        if isinstance(metric, Metric) and metric._update_count
    }


def restore(module: nn.Module, sums: Sums) -> None:
    """Restore the collected states into a module's metrics."""
    for name, metric in module.named_modules():
        if isinstance(metric, Metric) and name in sums:
            for key, value in sums[name]["state"].items():
                setattr(metric, key, _on(metric.device, value))
            metric._update_count, metric._computed = sums[name]["updates"], None


def reduce(module: nn.Module, ranks: list[Sums]) -> Sums:
    """Reduce the states of all ranks, with each metric's own reduction."""
    metrics = {name: metric for name, metric in module.named_modules() if isinstance(metric, Metric)}
    total: Sums = {}
    for name in metrics.keys() & {name for rank in ranks for name in rank}:
        parts = [rank[name] for rank in ranks if name in rank]
        state = {key: _reduced(metrics[name], key, [part["state"][key] for part in parts]) for key in parts[0]["state"]}
        total[name] = {"updates": sum(part["updates"] for part in parts), "state": state}
    return total


def _reduced(metric: Metric, key: str, values: list[Any]) -> Any:
    if isinstance(values[0], list):
        return [each for value in values for each in value]
    reduce: Any = metric._reductions[key]
    return reduce(torch.stack(values)) if callable(reduce) else values[0]


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device, copy=True)
    return [each.detach().to(device, copy=True) for each in value]
