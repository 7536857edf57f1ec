"""What is measured of each language and script, where the data are divided into languages.

Scripts are slices, as those of `task.slices`: `test/accuracy/slice/script/Latin`. They are summed here by language, in
one operation for a batch: `SliceMetrics` would keep, and feed one by one, a copy of each metric for each of 388
languages.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric

from lantu.errors import UserError
from lantu.ignore_index import NOT_ASKED
from lantu.slice_names import slice_name
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Task


@dataclass(frozen=True)
class OfLanguages:
    """A measure of each language: total (L,) / size (L,)."""

    name: str
    total: Tensor
    size: Tensor
    columns: dict[str, list[Any]]
    """Further columns of the table for each language, in their order."""
    largest_first: bool = False
    """Whether more is better."""
    of_all: dict[str, Tensor] = field(default_factory=dict)
    """What else is measured, of all languages together."""


class TaskByLanguage(Task):
    """A task that also measures every script and, in `tables`, every language, where the data say what these are.

    A subclass says which sums it takes over batches, and what they tell.
    """

    figure_stages = ("val", "test")
    tables: dict[str, dict[str, list[Any]]]
    """For each stage that has been measured: columns with a row for each language, the best first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.by_language = torch.nn.ModuleDict()
        self.tables = {}
        self._languages: list[str] = []
        self._scripts: list[str] = []

    @property
    def slice_columns(self) -> list[str]:
        return [*self.slices, *(["script"] if self._scripts else [])]

    def language_metric(self, languages: int) -> Metric:
        """Sums over a stage, fed with a batch's output and with all of the batch that follows its first tensor."""
        raise NotImplementedError(f"{type(self).__name__} must say what it sums up by language")

    def of_languages(self, sums: Any) -> OfLanguages:
        """What the metric's value tells; tensors are on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} must say what its sums tell")

    def setup(self, stage: str) -> None:
        super().setup(stage)
        # the languages are a matter of the data alone: no network or optimizer is built by them
        data = getattr(self.trainer, "datamodule", None)
        self.tables = {}
        self._languages = getattr(data, "languages", [])
        self._scripts = getattr(data, "scripts", [])
        if self._languages:
            for part in ("val", "test"):
                self.by_language[f"{part}_"] = self.language_metric(len(self._languages)).to(self.device)

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Those of the task; and the measure of every language, as a figure and as a table."""
        yield from super().figures(stage, outputs)
        if table := self.tables.get(stage):
            from lantu.tasks.plots import by_language

            yield f"languages_{stage}", by_language(table)
            yield f"languages_{stage}", table

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_languages("val")

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_languages("test")

    def _output_and_loss(self, batch: Any, stage: str) -> tuple[Tensor, Tensor]:
        output, loss = super()._output_and_loss(batch[:2], stage)
        if f"{stage}_" in self.by_language:
            metric: Any = self.by_language[f"{stage}_"]
            metric.update(output.detach(), *batch[1:])
        return output, loss

    def _log_languages(self, stage: str) -> None:
        if f"{stage}_" not in self.by_language:
            return
        metric: Any = self.by_language[f"{stage}_"]
        found = self.of_languages(apply_to_collection(metric.compute(), Tensor, Tensor.cpu))
        metric.reset()
        values = {f"{stage}/{name}": value for name, value in found.of_all.items()}
        for script in sorted(set(self._scripts)):
            here = torch.tensor([each == script for each in self._scripts])
            total, size = found.total[here].sum(), found.size[here].sum()
            if size > 0:
                values[slice_name(f"{stage}/{found.name}", "script", script)] = total / size
        self.log_dict({name: value.float() for name, value in values.items()}, on_epoch=True, on_step=False)
        each = found.total / found.size
        order = each.argsort(descending=found.largest_first, stable=True).tolist()
        columns = {
            "language": self._languages,
            "script": self._scripts,
            found.name: [round(value, 4) for value in each.tolist()],
            **found.columns,
        }
        rows = [row for row in order if found.size[row] > 0]
        self.tables[stage] = {name: [column[row] for row in rows] for name, column in columns.items()}


class LossByLanguage(Metric):
    """Sums over rows, by language: the loss in nats, the tokens that were predicted and their UTF-8 bytes."""

    full_state_update = False
    loss: Tensor
    tokens: Tensor
    bytes: Tensor

    def __init__(self, languages: int) -> None:
        super().__init__()
        for name in ("loss", "tokens", "bytes"):
            self.add_state(name, default=torch.zeros(languages), dist_reduce_fx="sum")

    def update(self, output: Tensor, y: Tensor, about: Tensor) -> None:
        """Logits (N, T, V), targets (N, T), and about (N, 2): language numbers and bytes of the targets."""
        nats = F.cross_entropy(output.flatten(0, 1).float(), y.flatten(), ignore_index=NOT_ASKED, reduction="none")
        language = about[:, 0]
        self.loss.index_add_(0, language, nats.view(y.shape).sum(dim=1))
        self.tokens.index_add_(0, language, (y != NOT_ASKED).sum(dim=1).to(self.tokens.dtype))
        self.bytes.index_add_(0, language, about[:, 1].to(self.bytes.dtype))

    def compute(self) -> dict[str, Tensor]:
        """The three sums, each (languages,)."""
        return {"loss": self.loss.clone(), "tokens": self.tokens.clone(), "bytes": self.bytes.clone()}


class TokenTask(TaskByLanguage):
    """A task that predicts tokens (N, T); those whose target is -100 are not asked for.

    Batches of data with languages have a third tensor, as those of `lantu.data.MultilingualDataModule`.
    """

    compiles_loss = True
    counts_bytes = True
    """Whether all of a row's text is predicted, so that its bits can be divided by its bytes."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if not getattr(data, "tells_rows", False):  # languages that are the targets of another task
            self.by_language.clear()
        _check_keeps_apart(self.net, getattr(data, "spec", {}))

    def weight(self, y: Tensor) -> Tensor:
        return (y != NOT_ASKED).sum()

    def compile_loss(self) -> None:
        """Let torch translate the loss, for this object alone."""
        self.__dict__["loss"] = torch.compile(self.loss)  # as `net.compile()` does: the class stays as it is

    @property
    def slice_columns(self) -> list[str]:
        return [*self.slices, *(["script"] if self._scripts else [])]

    def language_metric(self, languages: int) -> Metric:
        return LossByLanguage(languages)

    def of_languages(self, sums: dict[str, Tensor]) -> OfLanguages:
        loss, tokens, size = (sums[name].double() for name in ("loss", "tokens", "bytes"))
        columns = {
            "loss": [round(value, 4) for value in (loss / tokens).tolist()],
            "tokens": tokens.long().tolist(),
            "bytes": size.long().tolist(),
        }
        if not self.counts_bytes:
            return OfLanguages("loss", loss, tokens, columns)
        bits = loss / log(2)
        of_all = {"bits_per_byte": bits.sum() / size.sum()}
        return OfLanguages("bits_per_byte", bits, size, columns, of_all=of_all)


def _check_keeps_apart(net: torch.nn.Module, spec: dict[str, Any]) -> None:
    if spec.get("boundary_id") is not None and getattr(net, "boundary_id", None) is None:
        raise UserError(
            f"`data.documents=apart` is for networks that see no document from another, and {type(net).__name__} does: "
            "choose `model=gpt`, or `data.documents=marked`, which only marks where documents end."
        )
