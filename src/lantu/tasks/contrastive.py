"""Bring a picture and its text together (contrastive learning), and find one by the other."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import Metric, MetricCollection

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.tasks.baselines import Baseline
from lantu.tasks.outputs import Outputs
from lantu.tasks.retrieval import Retrieval, ZeroShot, ranks_of, retrieval_table
from lantu.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema


class Contrastive(Task):
    """Networks answer {"image": (N, D), "text": (N, D)} of length 1, with "scale" and "bias"; targets are numbers of
    the texts and of the classes.

    The logit of a picture with a text is their cosine × scale + bias. With `net.objective="softmax"` the loss is CLIP's
    (Radford et al. 2021): the mean of the cross-entropies of finding the text among those of the batch, and the
    picture. With "sigmoid" it is SigLIP's (Zhai et al. 2023): each pair is judged by itself. Pictures that share a text
    are not taught to be wrong for it. With several devices each contrasts the pairs of its own share of a batch.

    `val/image_to_text_recall_K` is the share of the pictures whose text is among the K nearest of all different texts
    of the split; `text_to_image` is the other direction. `zero_shot_accuracy` compares a picture with the name of each
    class; no classifier is trained.

    Args:
        class_names: for zero-shot classification; empty: there is none.
        prompt: a text about a class, with {} for its name.
        top: how many matches are predicted.
        options: of `Task`.
    """

    loss_is_by_example = False

    def __init__(
        self,
        net: nn.Module,
        *,
        class_names: list[str] | None = None,
        prompt: str = "{}",
        top: int = 5,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if "{}" not in prompt:
            raise UserError(f"`task.prompt={prompt}` must have {{}} where the class's name stands.")
        if top < 1:
            raise UserError(f"`task.top={top}` must be at least 1.")
        self.class_names = list(class_names or [])
        self.prompt = prompt
        self.top = top
        self._gallery: tuple[str, list[str], Tensor] | None = None
        self._class_embeddings: Tensor | None = None
        for stage in ("val", "test"):
            self.use_metrics(partial(self._make_metrics, intervals=stage == "test"), stages=(stage,))

    def loss(self, output: dict[str, Tensor], y: dict[str, Tensor], *, stage: str) -> Tensor:
        return contrastive_loss(
            output["image"], output["text"], scale=output["scale"], bias=output["bias"], texts=y["text"],
            objective=self.net.objective,  # type: ignore[arg-type]
        )  # fmt: skip

    def weight(self, y: dict[str, Tensor]) -> int:
        return len(y["text"])

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self._embed_classes(self.trainer.datamodule)

    def on_test_start(self) -> None:
        super().on_test_start()
        self._embed_classes(self.trainer.datamodule)

    def observe(self, metrics: MetricCollection, output: dict[str, Tensor], y: dict[str, Tensor]) -> None:
        metrics["retrieval"].update(output["image"], output["text"], y["text"])
        if "zero_shot" in metrics:
            assert self._class_embeddings is not None
            metrics["zero_shot"].update(output["image"] @ self._class_embeddings.T, y["class"])

    def collect(self, output: dict[str, Tensor], y: dict[str, Tensor]) -> Outputs:
        return {"image": output["image"], "text": output["text"], "number": y["text"], "class": y["class"]}

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """The cosine of each pair."""
        similarity = outputs["image"].float() @ outputs["text"].float().T
        columns: dict[str, Any] = {"row": outputs["row"]} if "row" in outputs else {}
        return {**columns, "similarity": similarity.diagonal().numpy()}

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: recall with its interval beside chance, and a picture of how far down the right ones stand."""
        if stage != "test" or not outputs:
            return
        from lantu.tasks.plots import rank_curves

        similarity, numbers = outputs["image"].float() @ outputs["text"].float().T, outputs["number"]
        yield "retrieval", retrieval_table(similarity, numbers)
        yield "ranks", rank_curves(ranks_of(similarity, numbers))

    # Finding one by the other

    def search_in(self, data: DataModule, gallery: Path | None) -> None:
        """What is searched by prediction: the pictures or the texts of a file or folder; None: the training texts."""
        if gallery is None:
            texts = list(data.known_texts)
            with torch.inference_mode():
                blocks = [data.encoded(texts[first : first + 256]) for first in range(0, len(texts), 256)]
                found = [self.net({"text": block.to(self.device)})["text"].cpu() for block in blocks]
            self._gallery = ("text", texts, torch.cat(found))
            return
        batches, rows = data.predict_rows(gallery)
        with torch.inference_mode():
            outputs = self.predicted(batches)
        kind = "image" if "image" in outputs else "text"
        names = rows[kind].astype(str)
        self._gallery = (kind, names[names.index >= 0].tolist(), outputs[kind])

    def predictions(self, output: dict[str, Tensor]) -> Outputs:
        """Vectors (N, D) of pictures, of texts, or of both."""
        return {name: output[name] for name in ("image", "text") if name in output}

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """`match_1`, `score_1` and so on: what the gallery holds nearest to each input, and its cosine."""
        import pandas as pd

        if "image" in outputs and "text" in outputs:
            score = (outputs["image"].float() * outputs["text"].float()).sum(-1)
            return pd.DataFrame({"score": score.double().numpy()})
        assert self._gallery is not None
        kind, names, vectors = self._gallery
        if kind in outputs:
            other = {"image": "texts, such as a .txt file with one a line", "text": "pictures"}[kind]
            raise UserError(
                f"`input` and the gallery both hold {'pictures' if kind == 'image' else 'texts'}: add "
                f"`gallery=PATH` with {other}."
            )
        queries = next(iter(outputs.values())).float()
        scores, places = (queries @ vectors.float().T).topk(min(self.top, len(names)))
        columns: dict[str, Any] = {}
        for rank in range(places.shape[1]):
            columns[f"match_{rank + 1}"] = [names[place] for place in places[:, rank].tolist()]
            columns[f"score_{rank + 1}"] = scores[:, rank].double().numpy()
        return pd.DataFrame(columns)

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        kinds = {"match": "string", "score": "double"}
        return Schema([ColSpec(kinds[name], f"{name}_{rank}") for rank in range(1, self.top + 1) for name in kinds])

    def respond(self, data: DataModule, inputs: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """The nearest training texts of pictures; the cosines of pictures with texts; or the vectors of texts."""
        import pandas as pd

        batches = data.batches_of(inputs)
        with torch.inference_mode():
            outputs = self.predicted(batches)
        if set(outputs) == {"text"}:
            return pd.DataFrame({"vector": [json.dumps(row) for row in outputs["text"].tolist()]})
        if self._gallery is None:
            self.search_in(data, None)
        return self.to_frame(outputs, batches.dataset)

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        return [
            ("lantu predict run=last input=PICTURES", "find the training texts that fit pictures"),
            ("lantu predict run=last input=TEXTS.txt gallery=PICTURES", "find the pictures that fit texts"),
        ]

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        from lantu.tasks.retrieval_baselines import retrieval_baselines

        return retrieval_baselines(data)

    def _make_metrics(self, *, intervals: bool) -> MetricCollection:
        metrics: dict[str, Metric] = {"retrieval": Retrieval(intervals=intervals)}
        if self.class_names:
            metrics["zero_shot"] = ZeroShot(len(self.class_names), intervals=intervals)
        return MetricCollection(metrics, compute_groups=False)

    def _embed_classes(self, data: Any) -> None:
        if not self.class_names:
            return
        prompts = [self.prompt.format(name.replace("_", " ")) for name in self.class_names]
        with torch.no_grad():
            self._class_embeddings = self.net({"text": data.encoded(prompts).to(self.device)})["text"]


def contrastive_loss(
    image: Tensor, text: Tensor, *, scale: Tensor, bias: Tensor, texts: Tensor, objective: str
) -> Tensor:
    """CLIP's or SigLIP's loss of a batch.

    Args:
        image, text: (N, D) of length 1.
        scale, bias: scalars.
        texts: (N,) equal numbers are equal texts. Where two pairs have one, neither counts as wrong for the other.
        objective: softmax or sigmoid.
    """
    logits = (image @ text.T).float() * scale + bias
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    shared = (texts[:, None] == texts[None]) & ~own
    if objective == "sigmoid":
        losses = -F.logsigmoid(torch.where(own, logits, -logits))
        return losses.masked_fill(shared, 0.0).sum() / len(logits)
    logits, target = logits.masked_fill(shared, -torch.inf), torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
