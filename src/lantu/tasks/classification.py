"""Choose one class of several."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryPrecision, MulticlassAccuracy

from lantu.errors import UserError
from lantu.tasks.base import Task
from lantu.tasks.known_metrics import AUROC, F1, MacroAUROC, MacroF1, MacroPrecision, MacroRecall, Recall
from lantu.tasks.running_mean import Mean


class Classification(Task):
    """Cross-entropy over classes. Networks answer logits (N, classes), targets are class numbers (N,).

    With two classes precision, recall, F1 and AUROC are those of class 1, the positive one; with more they are means
    over the classes that occur in the split (macro). Accuracy is the share of correct examples.

    Args:
        classes: how many; class_names: what they are called, in order.
        class_counts: examples of each class in the training split.
        class_weights: null, "balanced" (inversely proportional to the counts) or one number per class; only the
            training loss is weighted.
        label_smoothing: share of the target's probability spread over all classes (Szegedy et al. 2016); training only.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        *,
        classes: int,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        class_weights: str | list[float] | None = None,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"`task.label_smoothing={label_smoothing}` must lie in [0, 1).")
        self.classes = classes
        self.class_names = class_names or [str(number) for number in range(classes)]
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", _weights(class_weights, class_counts, classes), persistent=False)
        self.use_metrics(self._make_metrics)
        self.use_metrics(lambda: MetricCollection({"accuracy": Mean()}), stages=("train",))

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        if stage != "train":
            return F.cross_entropy(output, y)
        return F.cross_entropy(output, y, weight=self.class_weights, label_smoothing=self.label_smoothing)

    def training_weight(self, y: Tensor) -> int | Tensor:
        return len(y) if self.class_weights is None else self.class_weights[y].sum()

    def observe(self, metrics: Metric | MetricCollection, output: Tensor, y: Tensor) -> None:
        assert isinstance(metrics, MetricCollection)
        if isinstance(accuracy := metrics["accuracy"], Mean):
            accuracy.add((output.argmax(dim=-1) == y).float().mean(), len(y))
            return
        probabilities = output.float().softmax(dim=-1)
        for metric in metrics.values():
            metric.update(probabilities if isinstance(metric, _OF_ALL_CLASSES) else probabilities[:, 1], y)

    def predict_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Class numbers (N,) and probabilities (N, classes) of inputs without targets."""
        probabilities = self.net(batch).float().softmax(dim=-1)
        return {"class": probabilities.argmax(dim=-1), "probability": probabilities}

    def _make_metrics(self) -> MetricCollection:
        accuracy = MulticlassAccuracy(self.classes, average="micro")
        if self.classes == 2:
            return MetricCollection(
                {
                    "accuracy": accuracy,
                    "precision": BinaryPrecision(),
                    "recall": Recall(),
                    "f1": F1(),
                    "auroc": AUROC(),
                },
                compute_groups=False,
            )
        return MetricCollection(
            {
                "accuracy": accuracy,
                "precision": MacroPrecision(self.classes),
                "recall": MacroRecall(self.classes),
                "f1": MacroF1(self.classes),
                "auroc": MacroAUROC(self.classes),
            },
            compute_groups=False,
        )


_OF_ALL_CLASSES = (MulticlassAccuracy, MacroPrecision, MacroRecall, MacroF1, MacroAUROC)


def _weights(asked: str | list[float] | None, counts: list[int] | None, classes: int) -> Tensor | None:
    if asked is None:
        return None
    if asked == "balanced":
        if counts is None:
            raise UserError("`task.class_weights=balanced` needs the training counts, which these data do not publish.")
        number = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
        return number.sum() / (classes * number)
    if isinstance(asked, str) or len(asked) != classes:
        raise UserError(
            f"`task.class_weights={asked}`: give null, balanced, or a list of {classes} numbers, one per class."
        )
    return torch.tensor(asked, dtype=torch.float32)
