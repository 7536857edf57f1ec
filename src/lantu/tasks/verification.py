"""Tell whether two images show the same person, also of people who were not there in training."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MetricCollection

from lantu.errors import UserError
from lantu.models.margin_head import MarginHead
from lantu.notices import warn_once
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Task
from lantu.tasks.verification_scores import (
    VerificationScores,
    interval_over_people,
    pairs_of,
    rates,
    threshold_for_strangers,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

    from lantu.data.data_module import DataModule
    from lantu.tasks.baselines import Baseline

MARGINS = {"arcface": 0.3, "cosface": 0.2, "softmax": 0.0}
"""Of small sets of people; published ones for hundreds of thousands are 0.5 and 0.35."""
APART = 0.3
"""The cosine from which pairs of two people add to `val/loss`."""


class Verification(Task):
    """Embeddings whose cosine says whether two images show one person.

    In training the people are classes of a softmax with a margin (`lantu.models.margin_head`). People of validation and
    test are others, so nothing is classified there: all pairs are compared. `val/loss` is the contrastive loss of the
    pairs of a batch, (1 - cosine)² of one person and max(0, cosine - 0.3)² of two; the best checkpoint is the one of
    the least equal error rate. The threshold at which validation reached it decides in `predict`.

    Args:
        class_counts: training images of each person; who has none is not in training.
        embedding: length of an embedding.
        head: arcface, cosface or softmax.
        margin: null: 0.3 for arcface, 0.2 for cosface.
        scale: of the logits.
        false_identifications: in `predict`, the share of strangers that may be accepted as someone of the gallery; the
            threshold is raised to that by the gallery's own images. None: that of comparing two images decides alone.
        mirror: outside training an embedding is the mean of those of an image and its mirror image.
        shift: outside training it is also the mean of those of eight cut-outs: moved by this share of the side in both
            directions, and enlarged or reduced by a twentieth; 0: of the image alone.
    """

    best_by = "val/eer"
    threshold: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        class_names: list[str],
        class_counts: list[int],
        embedding: int = 128,
        head: str = "arcface",
        margin: float | None = None,
        scale: float = 16.0,
        mirror: bool = True,
        shift: float = 0.0,
        false_identifications: float | None = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if not 0 <= shift < 0.5:
            raise UserError(f"`task.shift={shift}` is a share of the side, at least 0 and below 0.5.")
        self.class_names, self.mirror, self.shift = list(class_names), mirror, shift
        if false_identifications is not None and not 0 <= false_identifications < 1:
            raise UserError(f"`task.false_identifications={false_identifications}` is a share, or null.")
        self.false_identifications = false_identifications
        counts = torch.tensor(class_counts)
        trained = int((counts > 0).sum())
        if trained < 2:
            raise UserError("`task=verification` needs images of two people or more in the training part.")
        # numbers of the people in training, without gaps; -1: not in training
        number = torch.where(counts > 0, (counts > 0).cumsum(0) - 1, -1)
        self.register_buffer("number", number, persistent=False)
        self.register_buffer("threshold", torch.tensor(0.5))
        margin = MARGINS.get(head, 0.0) if margin is None else margin
        self.head = MarginHead(embedding, trained, kind=head, margin=margin, scale=scale)
        self.use_metrics(lambda: MetricCollection({"verification": VerificationScores()}))

    @classmethod
    def facts(cls, spec: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """A network gives an embedding, and not a number for each person."""
        return {"outputs": int(options.get("embedding", 128))}

    def configure_optimizers(self) -> Any:
        return self.optimizer_of(nn.ModuleList([self.net, self.head]))

    def output_and_loss(self, x: Tensor, y: Tensor, *, stage: str) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) and the loss: of people in training, of pairs in validation and test."""
        if stage == "train":
            embedding = self.net(x)
            return embedding, F.cross_entropy(self.head(embedding, self.number[y]), self.number[y])
        embedding = self.embed(x)
        return embedding, contrastive_loss(embedding, y)

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (N, D) of length 1, in float32: bfloat16 cannot tell two similar cosines apart."""
        views = [x, *(moved(x, self.shift) if self.shift else [])]
        views += [view.flip(-1) for view in views] if self.mirror else []
        return F.normalize(sum((F.normalize(self.net(view).float(), dim=1) for view in views), torch.zeros(())), dim=1)

    def observe(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        metrics.update(output, y)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        scores: Any = self.metrics["val_"]["verification"]  # type: ignore[index]
        if scores.eer_threshold is not None:
            self.threshold.fill_(scores.eer_threshold)

    # New images

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Outputs:
        return {"embedding": self.embed(batch)}

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """Of each probe the most similar person of the gallery, the cosine, and whether it is accepted.

        Without a gallery, of each image its embedding.
        """
        import pandas as pd

        embeddings: Tensor = outputs["embedding"]
        known: list[str | None] | None = getattr(examples, "gallery", None)
        if known is None:
            return pd.DataFrame({"embedding": [[round(value, 6) for value in row] for row in embeddings.tolist()]})
        people = sorted({name for name in known if name is not None})
        # a person is the mean of their images
        centres = torch.stack([embeddings[[each == name for each in known]].mean(dim=0) for name in people])
        cosine = embeddings @ F.normalize(centres, dim=1).T
        best = cosine.max(dim=1)
        threshold = self._threshold_in(cosine, known, people)
        return pd.DataFrame(
            {
                "person": [people[number] for number in best.indices.tolist()],
                "similarity": best.values.double().numpy(),
                "accepted": (best.values >= threshold).numpy(),
            }
        )

    def _threshold_in(self, cosine: Tensor, known: list[str | None], people: list[str]) -> float:
        """The cosine (N, P) to a person from which a probe is accepted."""
        threshold, rate = float(self.threshold), self.false_identifications
        if rate is None or len(people) < 2:
            return threshold
        images = [number for number, name in enumerate(known) if name is not None]
        person = torch.tensor([people.index(str(known[number])) for number in images])
        strangers = threshold_for_strangers(cosine[images], person, rate=rate)
        accepted = int(rate * len(people))
        warn_once(
            f"probes are accepted from a similarity of {max(threshold, strangers):.3f}; two images are of one person "
            f"from {threshold:.3f}. With each of the {len(people)} people of the gallery as a stranger to the others, "
            f"{accepted} would be accepted."
        )
        return max(threshold, strangers)

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema
        from mlflow.types.schema import Array

        return Schema([ColSpec(Array("double"), "embedding")])

    # What shows a run

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """The ROC over all pairs, and how similar pairs of one and of two people are."""
        if not outputs:
            return
        from lantu.tasks import verification_figures as drawn

        cosine, same, _, _ = pairs_of(outputs["output"], outputs["y"])
        if 0 < same.sum() < len(same):
            yield "verification_roc", drawn.roc(cosine, same)
            yield "similarities", drawn.similarities(cosine, same, threshold=float(self.threshold))
            low, high = interval_over_people(outputs["output"], outputs["y"])
            value = rates(cosine, same)["eer"][0]
            row = {"eer": [value], "low": [low], "high": [high], "people": [len(outputs["y"].unique())]}
            yield "eer_interval", {**row, "pairs": [len(same)]}

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """Of each image its person, and the largest cosine to an image in its batch of the same and of others."""
        embedding, y = outputs["output"], outputs["y"]
        cosine = (embedding @ embedding.T).fill_diagonal_(-2)
        same = y[:, None] == y
        columns = {
            "target": [self.class_names[number] for number in y.tolist()],
            "most_similar_same": cosine.masked_fill(~same, -2).amax(dim=1).numpy(),
            "most_similar_other": cosine.masked_fill(same, -2).amax(dim=1).numpy(),
        }
        return {"row": outputs["row"], **columns} if "row" in outputs else columns

    @classmethod
    def baselines(cls, data: "DataModule") -> "list[Baseline]":
        """Pixels, and whitened principal components of the training images (eigenfaces), compared by their cosine."""
        import time

        from sklearn.decomposition import PCA

        from lantu.tasks.baselines import Baseline

        def read(split: str) -> tuple[np.ndarray, Tensor]:
            x, y = data.splits[split].__getitems__(list(range(len(data.splits[split]))))  # type: ignore[attr-defined,arg-type]
            return x.flatten(1).numpy(), y

        training, made = read("train")[0], []
        mean = training.mean(axis=0)
        kinds = {"pixels": "cosine of the pixels", "eigenfaces": "cosine of whitened principal components"}
        for name, description in kinds.items():
            begun = time.perf_counter()
            pca = None
            if name == "eigenfaces":
                pca = PCA(min(80, *training.shape), whiten=True, random_state=0).fit(training)
            metrics: dict[str, float] = {}
            for split in [each for each in ("val", "test") if each in data.splits]:
                x, y = read(split)
                scores = VerificationScores()
                scores.update(torch.from_numpy(pca.transform(x) if pca else x - mean), y)
                metrics |= {f"{split}/{key}": float(value) for key, value in scores.compute().items()}
            made.append(Baseline(name, description, metrics, time.perf_counter() - begun))
        return made


def moved(x: Tensor, shift: float) -> list[Tensor]:
    """Eight copies of images (N, C, H, W): moved by a share of the side along both axes, at two sizes."""
    copies = []
    for scale, along, down in product((0.95, 1.05), (-2 * shift, 2 * shift), (-2 * shift, 2 * shift)):
        change = x.new_tensor([[scale, 0, along], [0, scale, down]]).expand(len(x), -1, -1)
        grid = F.affine_grid(change, list(x.shape), align_corners=False)
        copies.append(F.grid_sample(x, grid, padding_mode="border", align_corners=False))
    return copies


def contrastive_loss(embedding: Tensor, y: Tensor) -> Tensor:
    """The mean over all pairs of (1 - cosine)² of one person and max(0, cosine - 0.3)² of two; 0 without pairs."""
    first, second = torch.triu_indices(len(y), len(y), offset=1, device=y.device)
    if not len(first):
        return embedding.sum() * 0
    cosine = (embedding[first] * embedding[second]).sum(dim=1)
    return torch.where(y[first] == y[second], 1 - cosine, (cosine - APART).clamp(min=0)).square().mean()
