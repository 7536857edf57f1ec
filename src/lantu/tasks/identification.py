"""Tell languages apart: how well, by language and by script."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from lantu.errors import UserError
from lantu.tasks.classification import Classification


class Identification(Classification):
    """Classification into languages: `lantu.data.IdentificationDataModule`.

    Validation and test also measure the accuracy of every script's texts, `test/accuracy_by_script/Latin` and so on,
    and `test/accuracy_of_code`: the share of texts whose language is right when varieties that have the code before an
    underscore in common (por_BR, por_PT) count as one. What they say of every language is in `tables`.
    """

    tables: dict[str, dict[str, list[Any]]]
    """For each stage that has been measured: columns with a row for each language, the best first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tables = {}
        self.confusion = nn.ModuleDict(
            {f"{stage}_": MulticlassConfusionMatrix(self.classes) for stage in ("val", "test")}
        )

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if not hasattr(getattr(self.trainer, "datamodule", None), "scripts"):
            raise UserError("`task=language_identification` needs texts by language: `data=udhr_identification`.")

    def observe(self, metrics: Metric | MetricCollection, output: Tensor, y: Tensor) -> None:
        super().observe(metrics, output, y)
        for stage, confusion in self.confusion.items():
            if metrics is self.metrics[stage]:
                assert isinstance(confusion, Metric)
                confusion.update(output, y)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_languages("val")

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_languages("test")

    def _log_languages(self, stage: str) -> None:
        metric: Any = self.confusion[f"{stage}_"]
        counts = metric.compute().cpu()
        metric.reset()
        data: Any = self.trainer.datamodule
        texts, right = counts.sum(dim=1), counts.diagonal()
        code = [name.partition("_")[0] for name in self.class_names]
        same = torch.tensor([[one == other for other in code] for one in code])
        values = {f"{stage}/accuracy_of_code": counts[same].sum() / counts.sum()}
        for script in sorted(set(data.scripts)):
            here = torch.tensor([each == script for each in data.scripts])
            if texts[here].sum():
                values[f"{stage}/accuracy_by_script/{script}"] = right[here].sum() / texts[here].sum()
        self.log_dict({name: value.float() for name, value in values.items()}, on_epoch=True, on_step=False)
        share = right / texts
        others = counts - torch.diag(right)
        order = [row for row in share.argsort(descending=True, stable=True).tolist() if texts[row]]
        self.tables[stage] = {
            "language": [self.class_names[row] for row in order],
            "script": [data.scripts[row] for row in order],
            "accuracy": [round(float(share[row]), 4) for row in order],
            "texts": [int(texts[row]) for row in order],
            "taken_for": [self.class_names[int(others[row].argmax())] if others[row].any() else "" for row in order],
        }
