"""Find the stretch of a text that answers a question."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from lantu.errors import UserError
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Batch, Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema


class QuestionAnswering(Task):
    """Extractive question answering (Devlin et al. 2019): networks answer (N, 2, L), logits of first and last place.

    Targets are (N, 3): first and last place of the answer, 0 where a window lacks it, and the window's number. The loss
    is the mean of both cross-entropies. In validation and test every window gives its likeliest span, the best of a
    question's windows answers it, and exact match and F1 are SQuAD's (Rajpurkar et al. 2016; torchmetrics), in [0, 1].

    Args:
        max_answer: the most tokens of an answer.
    """

    keeps_outputs = False

    def __init__(self, net: nn.Module, *, max_answer: int = 30, **options: Any) -> None:
        super().__init__(net, **options)
        if max_answer < 1:
            raise UserError(f"`task.max_answer={max_answer}` must be at least 1 token.")
        self.max_answer = max_answer
        self._spans: list[dict[str, Tensor]] = []

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        output = output.float()
        return (F.cross_entropy(output[:, 0], y[:, 0]) + F.cross_entropy(output[:, 1], y[:, 1])) / 2

    def best_spans(self, output: Tensor) -> dict[str, Tensor]:
        """Of each window (N,): first and last place of the likeliest span, its logits' sum and its probability."""
        output = output.float().clone()
        chances = output.softmax(dim=-1)
        output[:, :, 0] = output.min()  # the first place says that a window lacks the answer
        length = output.shape[-1]
        sums = output[:, 0, :, None] + output[:, 1, None, :]
        allowed = torch.ones(length, length, dtype=torch.bool, device=output.device).triu().tril(self.max_answer - 1)
        score, place = sums.masked_fill(~allowed, -torch.inf).flatten(1).max(dim=1)
        first, last = place // length, place % length
        rows = torch.arange(len(output), device=output.device)
        return {"first": first, "last": last, "score": score,
                "probability": chances[rows, 0, first] * chances[rows, 1, last]}  # fmt: skip

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """For each question the answer's text as `prediction`, and its `probability`."""
        import pandas as pd

        found = [(text, probability) for _, text, probability in answers_of(examples, outputs)]
        return pd.DataFrame(found, columns=["prediction", "probability"])

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("string", "prediction"), ColSpec("double", "probability")])

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> Outputs:
        """The best span of every window, with the window's number."""
        x, y = batch
        return {"window": y[:, 2], **self.best_spans(self.net(x))}

    def _output_and_loss(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        output, loss = super()._output_and_loss(batch, stage)
        if stage != "train":
            self._spans.append({"window": batch[1][:, 2], **self.best_spans(output.detach())})
        return output, loss

    def _log_stage(self, stage: str, *, loss_name: str | None = None) -> None:
        super()._log_stage(stage, loss_name=loss_name)
        if stage == "train" or not self._spans:
            return
        joined = {key: torch.cat([self.all_gather(each[key]).flatten() for each in self._spans]) for key in _SPAN}
        self._spans = []
        part = self.trainer.datamodule.splits[stage]
        exact, f1 = squad_scores(part, joined)
        self.log_dict({f"{stage}/exact_match": exact, f"{stage}/f1": f1}, on_epoch=True, on_step=False)


_SPAN = ("window", "first", "last", "score", "probability")


def answers_of(part: Any, spans: dict[str, Tensor]) -> list[tuple[int, str, float]]:
    """For every question that was read: its number, its answer's text and the answer's probability.

    Args:
        part: the `Windowed` examples that the windows are of.
        spans: of any windows, as `predict_step` gives them, joined.
    """
    values = {key: np.asarray(value.cpu()) for key, value in spans.items()}
    rows = part.best_rows(values["window"], values["score"])
    return [
        (
            part.of_question[values["window"][row]],
            part.text(values["window"][row], values["first"][row], values["last"][row]),
            float(values["probability"][row]),
        )
        for row in rows
    ]


def squad_scores(part: Any, spans: dict[str, Tensor]) -> tuple[float, float]:
    """Exact match and F1 in [0, 1], over the questions that were read."""
    from torchmetrics.functional.text import squad

    found = answers_of(part, spans)
    predictions = [{"prediction_text": text, "id": str(number)} for number, text, _ in found]
    targets = [
        {
            "answers": {
                "text": [each.text for each in part.answers[number]],
                "answer_start": [each.start for each in part.answers[number]],
            },
            "id": str(number),
        }
        for number, _, _ in found
    ]
    scores = squad(predictions, targets)
    return float(scores["exact_match"]) / 100, float(scores["f1"]) / 100
