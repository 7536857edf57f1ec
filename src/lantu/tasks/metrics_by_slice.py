"""Measure a task's metrics for each slice of the examples, such as each region or age group."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lantu.errors import UserError
from lantu.slice_names import SLICE
from lantu.tasks.metric_state import collect, reduce, restore


class FeedsMetrics(Protocol):
    """A task, as far as it says what its metrics are fed."""

    def observe(self, metrics: MetricCollection, output: Any, y: Any) -> None: ...

    def observe_extra(self, metrics: MetricCollection, output: Any, y: Any) -> None: ...


class SliceMetrics(nn.Module):
    """The metrics of a task in one stage, once for each slice of each column.

    Args:
        collections: the task's metrics of the stage; each is copied for every slice.
        slices: by column, the slice of every example (N,) of the split, as a pandas Categorical.
    """

    def __init__(self, collections: dict[str, MetricCollection], slices: dict[str, Any]) -> None:
        super().__init__()
        self.codes = {column: np.asarray(found.codes) for column, found in slices.items()}
        self.names = {column: [str(name) for name in found.categories] for column, found in slices.items()}
        self.metrics = nn.ModuleDict()
        for place, column in enumerate(slices):
            for code in np.unique(self.codes[column]):
                for kind, collection in collections.items():
                    self.metrics[f"{place}_{code}_{kind}"] = _alone(collection.clone())

    def update(self, task: FeedsMetrics, output: Any, y: Any, rows: list[int] | None) -> None:
        """Count a batch.

        Args:
            task: feeds the metrics.
            output: of the network, for each example; y: the targets.
            rows: which examples of the split they are; None is refused.
        """
        if rows is None:
            raise UserError("`task.slices`: the data module does not say which examples make up a batch.")
        for place, codes in enumerate(self.codes.values()):
            here = codes[rows]
            for code in np.unique(here):
                chosen = np.flatnonzero(here == code)
                part, truth = select(output, chosen), select(y, chosen)
                for kind, observe in (("own", task.observe), ("extra", task.observe_extra)):
                    if (name := f"{place}_{code}_{kind}") in self.metrics:
                        observe(self.metrics[name], part, truth)

    def compute(self) -> dict[str, Tensor]:
        """Each metric of each slice by a name such as `test/f1/slice/region/north`.

        On several ranks all must call it.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            sums: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(sums, collect(self))
            restore(self, reduce(self, sums))
        values: dict[str, Tensor] = {}
        for column, code, kind, suffix in self._each():
            collection: Any = self.metrics[f"{column}_{code}_{kind}"]
            if any(metric.update_called for metric in collection.values()):
                found = collection.compute()
                values |= {f"{name}{SLICE}{suffix}": value for name, value in found.items() if value.numel() == 1}
            collection.reset()
        return values

    def sizes(self) -> dict[str, int]:
        """The examples of each slice in the split, by column and slice, such as `region/north`."""
        return {
            f"{column}/{self.names[column][code]}": int((codes == code).sum())
            for column, codes in self.codes.items()
            for code in np.unique(codes)
        }

    def _each(self) -> Iterator[tuple[int, int, str, str]]:
        """Place of the column, code of the slice, kind of the metrics, and `column/slice`."""
        columns = list(self.names)
        for name in self.metrics:
            place, code, kind = name.split("_")
            column = columns[int(place)]
            yield int(place), int(code), kind, f"{column}/{self.names[column][int(code)]}"


def table(values: dict[str, float], sizes: dict[str, int]) -> dict[str, list[Any]]:
    """Columns with a row for each slice: column, slice, examples, and each metric."""
    slices = {name: number for name, number in sizes.items() if number}
    metrics = list(dict.fromkeys(name.partition(SLICE)[0] for name in values))
    return {
        "column": [name.partition("/")[0] for name in slices],
        "slice": [name.partition("/")[2] for name in slices],
        "examples": list(slices.values()),
        **{
            metric.partition("/")[2]: [_rounded(values.get(f"{metric}{SLICE}{name}")) for name in slices]
            for metric in metrics
        },
    }


def select(part: Any, rows: np.ndarray) -> Any:
    """Some of the examples of a batch of outputs or targets: tensors, lists, or dictionaries of these."""
    if isinstance(part, Tensor):
        return part[torch.from_numpy(rows).to(part.device)]
    if isinstance(part, dict):
        return {name: select(each, rows) for name, each in part.items()}
    if isinstance(part, list | tuple):
        return [part[row] for row in rows]
    raise UserError(f"`task.slices`: the examples of a batch cannot be told apart in a {type(part).__name__}.")


def _alone(collection: MetricCollection) -> MetricCollection:
    """Metrics that wait for no other rank: one may lack a slice, and `compute` adds them up."""
    for metric in collection.values():
        assert isinstance(metric, Metric)
        metric.sync_on_compute = False
    return collection


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
