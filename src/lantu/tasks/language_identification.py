"""Tell languages apart: how well, by language and by script."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from lantu.errors import UserError
from lantu.tasks.classification import Classification
from lantu.tasks.metrics_by_language import OfLanguages, TaskByLanguage


class Identification(Classification, TaskByLanguage):
    """Classification into languages: `lantu.data.IdentificationDataModule`.

    Validation and test also measure the accuracy of every script's texts, `test/accuracy/slice/script/Latin` and so on,
    and `test/accuracy_of_code`: the share of texts whose language is right when varieties that have the code before an
    underscore in common (por_BR, por_PT) count as one. What they say of every language is in `tables`.
    """

    def setup(self, stage: str) -> None:
        if not hasattr(getattr(self.trainer, "datamodule", None), "scripts"):
            raise UserError("`task=language_identification` needs texts by language: `data=udhr_identification`.")
        super().setup(stage)

    def language_metric(self, languages: int) -> Metric:
        return MulticlassConfusionMatrix(languages)

    def of_languages(self, sums: Tensor) -> OfLanguages:
        texts, right = sums.sum(dim=1), sums.diagonal()
        code = [name.partition("_")[0] for name in self.class_names]
        same = torch.tensor([[one == other for other in code] for one in code])
        others = sums - torch.diag(right)
        wrong = [self.class_names[int(row.argmax())] if row.any() else "" for row in others]
        return OfLanguages(
            "accuracy", right, texts, {"texts": texts.tolist(), "taken_for": wrong}, largest_first=True,
            of_all={"accuracy_of_code": sums[same].sum() / sums.sum()},
        )  # fmt: skip
