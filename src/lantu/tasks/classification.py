"""Choose one class of several."""

from collections.abc import Iterator
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryPrecision, MulticlassAccuracy

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.models.scorecard import Scorecard
from lantu.tasks import froc
from lantu.tasks.baselines import Baseline, fit_baselines
from lantu.tasks.calibrated_classifier import CalibratedClassifier
from lantu.tasks.known_metrics import AUROC, F1, MacroAUROC, MacroF1, MacroPrecision, MacroRecall, Recall
from lantu.tasks.outputs import Outputs
from lantu.tasks.running_mean import Mean

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema


class Classification(CalibratedClassifier):
    """Cross-entropy over classes. Networks answer logits (N, classes), targets are class numbers (N,), or
    in training shares of the classes (N, classes).

    With two classes precision, recall, F1 and AUROC are those of class 1, the positive one; with more they are means
    over the classes that occur in the split (macro). Accuracy is the share of correct examples.

    Args:
        classes: how many; class_names: what they are called, in order.
        class_counts: examples of each class in the training split.
        class_weights: null, "balanced" (inversely proportional to the counts) or one number per class; only the
            training loss is weighted.
        label_smoothing: share of the target's probability spread over all classes (Szegedy et al. 2016); training only.
        scan: of two classes, the column with the scan or picture that each candidate belongs to: the test then has a
            FROC (`lantu.tasks.froc`).
        tta: test-time augmentation: in test and prediction, the mean probability of a picture and its mirror image.
        options: of `CalibratedClassifier` and `Task`.
    """

    class_weights: Tensor | None

    linear_model = "classification"

    def __init__(
        self,
        net: nn.Module,
        *,
        classes: int,
        class_names: list[str] | None = None,
        class_counts: list[int] | None = None,
        class_weights: str | list[float] | None = None,
        label_smoothing: float = 0.0,
        scan: str | None = None,
        tta: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        self.tta = tta
        self.scan = scan
        if scan is not None and classes != 2:
            raise UserError(f"`task.scan={scan}`: a FROC is about two classes, and these data have {classes}.")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"`task.label_smoothing={label_smoothing}` must lie in [0, 1).")
        if self.decision is not None and classes != 2:
            raise UserError(f"`business`: decisions are about two classes, and these data have {classes}.")
        self.classes = classes
        self.class_names = class_names or [str(number) for number in range(classes)]
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", _weights(class_weights, class_counts, classes), persistent=False)
        self.use_metrics(self._make_metrics)
        self.use_metrics(lambda: MetricCollection({"accuracy": Mean()}), stages=("train",))

    def answer(self, x: Tensor, *, stage: str) -> Tensor:
        """Logits (N, classes); log-probabilities where there is a calibration to apply."""
        return self.calibrated(self._logits(x, stage=stage), stage=stage)

    def _logits(self, x: Tensor, *, stage: str) -> Tensor:
        output: Tensor = self.net(x)
        if not self.tta or stage not in ("test", "predict"):
            return output
        if x.ndim != 4:
            raise UserError("`task.tta=true` mirrors pictures, and these data are none.")
        both = torch.stack([output, self.net(x.flip(-1))]).float().log_softmax(dim=-1)
        return both.logsumexp(dim=0) - log(2)  # logits of the mean probability

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Outputs:
        outputs = self.predictions(self.answer(batch, stage="predict"))
        if self._has_score():
            outputs["score"] = self._score(batch)
        return {**outputs, **self.decisions(batch, outputs["probability"])}

    def _has_score(self) -> bool:
        """Whether the network is a scorecard, or the export of one."""
        return getattr(self.net, "has_score", False)

    def exported_predictions(self, x: Any, output: Any) -> Outputs:
        found = self.predictions(output)
        return {**found, "score": self._score(x)} if self._has_score() else found

    def _score(self, x: Tensor) -> Tensor:
        net: Any = self.net
        found: Tensor = net.score(x)
        return found

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        if stage != "train":
            return F.cross_entropy(output, y)
        if self.mitigation is not None:
            return self.fairer_loss(output, y, label_smoothing=self.label_smoothing)
        return F.cross_entropy(output, y, weight=self.class_weights, label_smoothing=self.label_smoothing)

    def training_weight(self, y: Tensor) -> int | Tensor:
        if self.class_weights is None:
            return len(y)
        return self.class_weights[y].sum() if y.ndim == 1 else (y * self.class_weights).sum()

    def _is_assessed(self) -> bool:
        return super()._is_assessed() or self.scan is not None

    def assess(self, outputs: Outputs) -> dict[str, float]:
        """As in `CalibratedClassifier`, with those of the FROC."""
        values = super().assess(outputs)
        if (curve := self._froc(outputs)) is not None:
            values |= froc.figures(curve)
        return values

    def _froc(self, outputs: Outputs) -> "froc.FROC | None":
        """The FROC of a test's outputs; None where it is not asked for, or there is no finding."""
        if self.scan is None or not outputs or not bool((outputs["y"] == 1).any()):
            return None
        data: Any = self.trainer.datamodule
        scans = data.carried_values("test", self.scan).astype(str).to_numpy()[np.asarray(outputs["row"])]
        scores = self.probabilities(outputs["output"])[:, 1].double().numpy()
        return froc.froc(scores, outputs["y"].numpy() == 1, scans)

    def probabilities(self, output: Tensor) -> Tensor:
        """Probabilities (N, classes) from logits; whatever is predicted, measured or drawn uses them."""
        return output.float().softmax(dim=-1)

    def observe(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        if isinstance(accuracy := metrics["accuracy"], Mean):
            truth = y if y.ndim == 1 else y.argmax(dim=-1)  # of mixed examples the class that has the larger share
            accuracy.add((output.argmax(dim=-1) == truth).float().mean(), len(y))
            return
        self.observe_extra(metrics, output, y)

    def observe_extra(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        """Feed probabilities (N, classes), or those of class 1 (N,) to a metric of two classes, and targets (N,)."""
        probabilities = self.probabilities(output)
        for metric in metrics.values():
            metric.update(probabilities[:, 1] if _is_binary(metric) else probabilities, y)

    def predictions(self, output: Tensor) -> Outputs:
        """Class numbers (N,) and probabilities (N, classes)."""
        probabilities = self.probabilities(output)
        return {"class": probabilities.argmax(dim=-1), "probability": probabilities}

    def explained(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, probabilities, and the class that is predicted."""
        probabilities = self.probabilities(output)
        return output.float(), probabilities, probabilities.argmax(dim=-1)

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """The class's name, its probability, that of every class as `probability_NAME`, the decision and reasons."""
        import pandas as pd

        probabilities = outputs["probability"].double().numpy()
        return pd.DataFrame(
            {
                "prediction": [self.class_names[number] for number in outputs["class"].tolist()],
                "probability": probabilities.max(axis=1, initial=0.0),
                **{f"probability_{name}": probabilities[:, number] for number, name in enumerate(self.class_names)},
                **({"score": outputs["score"].numpy().astype(int)} if "score" in outputs else {}),
                **self.decision_columns(outputs, examples),
            }
        )

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        columns = ["probability", *(f"probability_{name}" for name in self.class_names)]
        further = [ColSpec("long", "score")] * self._has_score()
        further += [ColSpec("string", name) for name in self.decision_column_names()]
        return Schema([ColSpec("string", "prediction"), *(ColSpec("double", name) for name in columns), *further])

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """Target and prediction by name, the prediction's probability, of two classes class 1's `score`, the loss."""
        probabilities, y = self.probabilities(outputs["output"]), outputs["y"]
        predicted = probabilities.argmax(dim=-1)
        columns = {
            "target": [self.class_names[number] for number in y.tolist()],
            "prediction": [self.class_names[number] for number in predicted.tolist()],
            "probability": probabilities.amax(dim=-1).numpy(),
            **({"score": probabilities[:, 1].numpy()} if self.classes == 2 else {}),
            "loss": self.example_losses(outputs["output"], y).numpy(),
        }
        return {"row": outputs["row"], **columns} if "row" in outputs else columns

    def example_losses(self, output: Tensor, y: Tensor) -> Tensor:
        """The loss (N,) of each example, as validation and test measure it."""
        return F.cross_entropy(output.float(), y, reduction="none")

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: the confusion matrix, ROC and precision-recall curves."""
        yield from super().figures(stage, outputs)
        if stage == "test" and outputs:
            from lantu.tasks.plots import classification_figures

            probabilities = self.probabilities(outputs["output"]).numpy()
            yield from classification_figures(probabilities, outputs["y"].numpy(), self.class_names).items()
            if isinstance(self.net, Scorecard):
                yield "scorecard", self.net.table()
            if (curve := self._froc(outputs)) is not None:
                yield "froc", froc.curve(curve)
                yield "froc", froc.table(curve)
            if self.calibration is not None or self.decision is not None:
                from lantu.tasks.decision_plots import decision_figures

                yield from decision_figures(self, outputs)

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        return fit_baselines(data, kind="classification")

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
                    **self.decision_metrics(),
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


def _is_binary(metric: Metric) -> bool:
    """Whether a metric is one of torchmetrics' for two classes, which takes the probability of class 1 alone.

    A wrapper such as BootStrapper is what it wraps.
    """
    while isinstance(inner := getattr(metric, "base_metric", None) or getattr(metric, "_base_metric", None), Metric):
        metric = inner
    return any(each.__module__.startswith("torchmetrics.") and each.__name__.startswith("Binary")
               for each in type(metric).__mro__)  # fmt: skip


def _weights(weights: str | list[float] | None, counts: list[int] | None, classes: int) -> Tensor | None:
    if weights is None:
        return None
    if weights == "balanced":
        if counts is None:
            raise UserError("`task.class_weights=balanced` needs the training counts, which these data do not publish.")
        number = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
        return number.sum() / (classes * number)
    if isinstance(weights, str) or len(weights) != classes:
        raise UserError(
            f"`task.class_weights={weights}`: give null, balanced, or a list of {classes} numbers, one per class."
        )
    return torch.tensor(weights, dtype=torch.float32)
