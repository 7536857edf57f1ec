"""Losses of each language and script, where the batches say which language a row is of."""

from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from lantu.errors import UserError
from lantu.tasks.base import Task

NOT_ASKED = -100
"""The target where nothing is predicted, as `cross_entropy` and transformers have it."""


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


class TokenTask(Task):
    """A task that predicts tokens (N, T); those whose target is -100 are not asked for.

    Batches may have a third tensor, as those of `lantu.data.MultilingualDataModule` do. Then validation and test also
    measure every script and, in `tables`, every language.
    """

    counts_bytes = True
    """Whether all of a row's text is predicted, so that its bits can be divided by its bytes."""

    tables: dict[str, dict[str, list[Any]]]
    """For each stage that has been measured: columns with a row for each language, the best first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.by_language = torch.nn.ModuleDict()
        self.tables = {}

    def setup(self, stage: str) -> None:
        # the languages are a matter of the data alone: no network or optimizer is built by them
        data = getattr(self.trainer, "datamodule", None)
        _check_keeps_apart(self.net, getattr(data, "spec", {}))
        self.tables = {}
        self._languages: list[str] = getattr(data, "languages", [])
        self._scripts: list[str] = getattr(data, "scripts", [])
        if self._languages:
            for part in ("val", "test"):
                self.by_language[f"{part}_"] = LossByLanguage(len(self._languages)).to(self.device)

    def weight(self, y: Tensor) -> Tensor:
        return (y != NOT_ASKED).sum()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_languages("val")

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_languages("test")

    def _output_and_loss(self, batch: Any, stage: str) -> tuple[Tensor, Tensor]:
        output, loss = super()._output_and_loss(batch[:2], stage)
        if len(batch) > 2 and f"{stage}_" in self.by_language:
            metric: Any = self.by_language[f"{stage}_"]
            metric.update(output.detach(), batch[1], batch[2])
        return output, loss

    def _log_languages(self, stage: str) -> None:
        if f"{stage}_" not in self.by_language:
            return
        metric: Any = self.by_language[f"{stage}_"]
        sums = {name: value.double().cpu() for name, value in metric.compute().items()}
        metric.reset()
        measure, unit = ("bits_per_byte", "bytes") if self.counts_bytes else ("loss", "tokens")
        total = sums["loss"] / (log(2) if self.counts_bytes else 1)
        scripts = sorted(set(self._scripts))
        number = torch.tensor([scripts.index(script) for script in self._scripts])
        of_script = total.new_zeros(2, len(scripts)).index_add_(1, number, torch.stack([total, sums[unit]]))
        values = {
            f"{stage}/{measure}_by_script/{script}": loss / size
            for script, loss, size in zip(scripts, *of_script.float(), strict=True)
            if size > 0
        }
        if self.counts_bytes:
            values[f"{stage}/bits_per_byte"] = (total.sum() / sums["bytes"].sum()).float()
        self.log_dict(values, prog_bar=False, on_epoch=True, on_step=False)
        each = total / sums[unit]
        order = [row for row in each.argsort().tolist() if sums[unit][row] > 0]
        self.tables[stage] = {
            "language": [self._languages[row] for row in order],
            "script": [self._scripts[row] for row in order],
            measure: [round(float(each[row]), 4) for row in order],
            "loss": [round(float(sums["loss"][row] / sums["tokens"][row]), 4) for row in order],
            "tokens": [int(sums["tokens"][row]) for row in order],
            "bytes": [int(sums["bytes"][row]) for row in order],
        }


def _check_keeps_apart(net: torch.nn.Module, spec: dict[str, Any]) -> None:
    if spec.get("boundary_id") is not None and getattr(net, "boundary_id", None) is None:
        raise UserError(
            f"`data.documents=apart` is for networks that see no document from another, and {type(net).__name__} does: "
            "choose `model=gpt`, or `data.documents=marked`, which only marks where documents end."
        )
