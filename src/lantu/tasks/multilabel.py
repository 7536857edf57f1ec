"""Say of each label whether an example has it; it may have any number of them."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MetricCollection

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.tasks.baselines import MOST_TRAINING, Baseline
from lantu.tasks.multilabel_scores import MultiLabelScores, by_label, overall
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema


class MultiLabel(Task):
    """Binary cross-entropy of each label. Networks give logits (N, labels); targets (N, labels) are 1, 0 or NaN.

    NaN is unknown: it adds neither to the loss nor to a metric. `val/loss` is the mean over what is known.

    Args:
        label_names: what the labels are called, in order.
        label_counts: training examples that have each label; label_known: of how many that is known.
        positive_weight: what an example that has a label counts beside one that has not, in training: null (1),
            balanced (negatives per positive of the training split), or one number per label.
        threshold: the probability from which a label is predicted.
        options: of `Task`.
    """

    positive_weight: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        *,
        label_names: list[str],
        label_counts: list[int] | None = None,
        label_known: list[int] | None = None,
        positive_weight: str | list[float] | None = None,
        threshold: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if not 0 < threshold < 1:
            raise UserError(f"`task.threshold={threshold}` is a probability, above 0 and below 1.")
        self.label_names = list(label_names)
        self.threshold = threshold
        weight = _weights(positive_weight, label_counts, label_known, labels=len(self.label_names))
        self.register_buffer("positive_weight", weight, persistent=False)
        self.use_metrics(lambda: MetricCollection({"scores": MultiLabelScores(self.label_names, threshold=threshold)}))

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        known = ~y.isnan()
        weight = self.positive_weight if stage == "train" else None
        each = F.binary_cross_entropy_with_logits(output, y.nan_to_num(), pos_weight=weight, reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)

    def weight(self, y: Tensor) -> Tensor:
        """How many labels of a batch are known: its mean loss is over those."""
        return (~y.isnan()).sum()

    def observe(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        metrics.update(output.float().sigmoid(), y)

    def observe_extra(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        """Feed probabilities (N, labels) and targets (N, labels), -1 where they are unknown."""
        metrics.update(output.float().sigmoid(), y.nan_to_num(nan=-1).long())

    # New inputs

    def predictions(self, output: Tensor) -> Outputs:
        """Probabilities (N, labels)."""
        return {"probability": output.float().sigmoid()}

    def explained(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, probabilities, and the most probable label."""
        return output.float(), output.float().sigmoid(), output.argmax(dim=-1)

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """`prediction`, the labels from the threshold on, joined by `|`, and `probability_LABEL` of each."""
        import pandas as pd

        probabilities = outputs["probability"].double().numpy()
        columns = {f"probability_{name}": probabilities[:, number] for number, name in enumerate(self.label_names)}
        return pd.DataFrame({"prediction": self._named(probabilities >= self.threshold), **columns})

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        columns = [ColSpec("double", f"probability_{name}") for name in self.label_names]
        return Schema([ColSpec("string", "prediction"), *columns])

    # What shows a run

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """The labels of target and prediction, joined by `|`, and the mean loss over the known labels."""
        output, y = outputs["output"].float(), outputs["y"].float()
        known = ~y.isnan()
        losses = F.binary_cross_entropy_with_logits(output, y.nan_to_num(), reduction="none") * known
        columns = {
            "target": self._named((y == 1).numpy()),
            "prediction": self._named((output.sigmoid() >= self.threshold).numpy()),
            "loss": (losses.sum(dim=1) / known.sum(dim=1).clamp(min=1)).numpy(),
        }
        return {"row": outputs["row"], **columns} if "row" in outputs else columns

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: a table with a row for each label, and the precision-recall curves of the labels."""
        if stage == "test" and outputs:
            from lantu.tasks.plots import precision_recall_of_labels

            p, y = outputs["output"].float().sigmoid().numpy(), outputs["y"].float().numpy()
            table = by_label(p, y, self.label_names, threshold=self.threshold)
            yield "labels", {key: [None if each != each else each for each in column] for key, column in table.items()}  # noqa: PLR0124
            yield "precision_recall", precision_recall_of_labels(p, y, self.label_names)

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        """The share of each label in training, and the data's classical models for each label by itself."""
        from sklearn.dummy import DummyClassifier

        rows: dict[str, tuple[Any, np.ndarray]] = {}
        for split in data.splits:
            examples = np.arange(len(data.splits[split]))  # type: ignore[arg-type]
            if split == "train":
                examples = np.sort(np.random.default_rng(0).permutation(examples)[:MOST_TRAINING])
            targets = data.splits[split].y  # type: ignore[attr-defined]
            rows[str(split)] = data.classical_features(split, examples)[0], targets[examples].numpy()
        classical = data.classical_models(classifies=True, shape=rows["train"][0].shape)
        models = {"trivial": ("the share of each label", DummyClassifier(strategy="prior")), **classical}
        made = []
        for name, (description, model) in models.items():
            started = time.perf_counter()
            found = _answers(model, rows)
            metrics = {
                f"{split}/{metric}": value
                for split, answers in found.items()
                for metric, value in _figures(answers, rows[split][1], data.spec["label_names"]).items()
            }
            made.append(Baseline(name, description, metrics, time.perf_counter() - started))
        return made

    def _named(self, chosen: np.ndarray) -> list[str]:
        return ["|".join(name for name, has in zip(self.label_names, row, strict=True) if has) for row in chosen]


def _answers(model: Any, rows: dict[str, tuple[Any, np.ndarray]]) -> dict[str, np.ndarray]:
    """A model's probabilities (N, labels) in validation and test, fitted anew for each label.

    Args:
        model: a classifier of scikit-learn.
        rows: by split, features (N, F) and targets (N, labels) of 1, 0 or NaN.
    """
    x, targets = rows["train"]
    found = {split: np.zeros_like(y) for split, (_, y) in rows.items() if split != "train"}
    for label, y in enumerate(targets.T):
        known = ~np.isnan(y)
        learnable = len(np.unique(y[known])) == 2
        if learnable:
            model.fit(x[known], y[known].astype(int))
        for split, answers in found.items():
            always = y[known].mean() if known.any() else 0.5
            answers[:, label] = model.predict_proba(rows[split][0])[:, 1] if learnable else always
    return found


def _figures(p: np.ndarray, y: np.ndarray, names: list[str]) -> dict[str, float]:
    scores = MultiLabelScores(names)
    scores.update(torch.from_numpy(p), torch.from_numpy(y))
    means = {name: float(value) for name, value in scores.compute().items() if name in ("map", "auroc", "f1")}
    known = ~np.isnan(y)
    likely = np.clip(np.where(y == 1, p, 1 - p), 1e-7, 1)
    return {"loss": float(-np.log(likely[known]).mean()), **means, **overall(p, y, threshold=0.5)}


def _weights(
    weights: str | list[float] | None, counts: list[int] | None, known: list[int] | None, *, labels: int
) -> Tensor | None:
    if weights is None:
        return None
    if weights == "balanced":
        if counts is None or known is None:
            raise UserError("`task.positive_weight=balanced` needs the training counts, which these data do not tell.")
        have, of = torch.tensor(counts, dtype=torch.float32), torch.tensor(known, dtype=torch.float32)
        return (of - have).clamp(min=1) / have.clamp(min=1)
    if isinstance(weights, str) or len(weights) != labels:
        raise UserError(
            f"`task.positive_weight={weights}`: give null, balanced, or a list of {labels} numbers, one per label."
        )
    return torch.tensor(weights, dtype=torch.float32)
