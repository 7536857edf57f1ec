"""Find objects: their boxes and classes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MetricCollection

from lantu.errors import UserError
from lantu.models.pretrained_detectors import Detections
from lantu.table_files import ENDINGS
from lantu.tasks.average_precision import AveragePrecision
from lantu.tasks.detection_matching import truth_of
from lantu.tasks.outputs import Outputs, to_host
from lantu.tasks.task import Task
from lantu.whole_files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

    from lantu.data.data_module import DataModule
    from lantu.tasks.baselines import Baseline

Found = dict[str, Tensor]
"""Of one picture: boxes (D, 4) as x1, y1, x2, y2 in pixels of the original picture, scores (D,), labels (D,)."""
CANDIDATES = 1000
"""Pairs of a box and a class of a picture, the most likely ones, among which overlapping ones are suppressed."""
SHOWN = 4
"""Pictures that are shown at validations."""


class Detection(Task):
    """Object detection with any network that answers `lantu.models.pretrained_detectors.Detections`.

    The network computes its own loss, since that hangs on how it assigns points or queries to objects. What follows is
    the same for all: boxes are brought back to the pixels of the original picture, overlapping ones of a class are
    suppressed where the network says that it needs that, and COCO's average precision is measured (torchmetrics).

    Batches are x (N, C, H, W) and the dictionary that `lantu.data.BoxDataModule` describes.

    Args:
        class_names: in the order of their numbers.
        threshold: score from which a box is predicted, drawn and counted; average precision looks at all boxes.
        min_score: boxes below it are of no interest to average precision either.
        overlap: IoU from which the less likely of two boxes of a class is suppressed.
        most: boxes of a picture, the most likely ones.
    """

    endings = (*ENDINGS, ".json")
    figure_stages = ("test",)

    def __init__(
        self,
        net: nn.Module,
        *,
        class_names: list[str],
        threshold: float = 0.3,
        min_score: float = 0.001,
        overlap: float = 0.6,
        most: int = 100,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        for name, share in (("threshold", threshold), ("min_score", min_score), ("overlap", overlap)):
            if not 0 <= share <= 1:
                raise UserError(f"`task.{name}={share}` lies between 0 and 1.")
        if most < 1:
            raise UserError(f"`task.most={most}` must be at least 1 box.")
        self.class_names = list(class_names)
        self.threshold, self.min_score, self.overlap, self.most = threshold, min_score, overlap, most
        self.use_metrics(lambda: MetricCollection({"ap": AveragePrecision(self.class_names, most=most)}))

    # One batch

    def output_and_loss(self, x: Tensor, y: dict[str, Tensor], *, stage: str) -> tuple[Any, Tensor | dict[str, Tensor]]:
        """What was found in each picture (nothing in training, which does not ask), and the parts of the loss."""
        labels = y["labels"].masked_fill(y["crowd"], -1)  # which point is responsible for a crowd is not defined
        answer: Detections = self.net(x, y["boxes"], labels)
        assert answer.losses is not None
        parts = {f"{name}_loss": value for name, value in answer.losses.items()}
        loss = parts if len(parts) > 1 else next(iter(parts.values()))
        return ([] if stage == "train" else self.postprocess(answer, y, self.min_score)), loss

    def weight(self, y: dict[str, Tensor]) -> Tensor:
        """The number of boxes: losses are sums over them, divided by it."""
        return (y["labels"] >= 0).sum().clamp(min=1)

    def observe(self, metrics: MetricCollection, output: list[Found], y: dict[str, Tensor]) -> None:
        metrics.update(output, truth_of(y))

    def collect(self, output: list[Found], y: dict[str, Tensor]) -> Outputs:
        """What was found in each picture and what is there, with the picture's number in its split."""
        return {"index": y["index"], "found": output, "truth": truth_of(y)}

    def postprocess(self, answer: Detections, y: dict[str, Tensor], min_score: float) -> list[Found]:
        """The boxes of each picture in pixels of the original one, the likeliest first.

        Args:
            y: `scale` and `size` of the pictures.
            min_score: boxes below it are left out.
        """
        from torchvision.ops import batched_nms

        scores, classes = answer.scores, answer.scores.shape[-1]
        ranked = scores.flatten(1).topk(min(CANDIDATES, scores[0].numel()), dim=1)
        picture, place = (ranked.values >= max(min_score, 1e-9)).nonzero(as_tuple=True)
        score, pair = ranked.values[picture, place], ranked.indices[picture, place]
        box, label = answer.boxes[picture, pair // classes], pair % classes
        if getattr(self.net, "needs_nms", False):
            kept = batched_nms(box, score, picture * classes + label, self.overlap)
            kept = kept[picture[kept].argsort(stable=True)]  # by picture, and within one still by score
            picture, score, box, label = picture[kept], score[kept], box[kept], label[kept]
        size = y["size"][picture].float()
        box = (box / y["scale"][picture].repeat(1, 2)).clamp(min=0).minimum(size.repeat(1, 2))
        counts = torch.bincount(picture, minlength=len(scores)).tolist()
        parts = zip(box.split(counts), score.split(counts), label.split(counts), strict=True)
        return [
            {"boxes": boxes[: self.most], "scores": its_scores[: self.most], "labels": labels[: self.most]}
            for boxes, its_scores, labels in parts
        ]

    # New inputs

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Outputs:
        """Of each picture its size and the boxes from `threshold` on, in pixels of the original picture."""
        x, y = batch
        found = self.postprocess(self.net(x), y, self.threshold)
        return {"size": y["size"], **{name: [each[name] for each in found] for name in ("boxes", "scores", "labels")}}

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """Of each picture how many objects were found, and as JSON their class, score and box (x1, y1, x2, y2)."""
        import pandas as pd

        listed = [
            [
                {"class": self.class_names[label], "score": round(score, 4), "box": [round(side, 1) for side in box]}
                for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)
            ]
            for boxes, scores, labels in zip(outputs["boxes"], outputs["scores"], outputs["labels"], strict=True)
        ]
        return pd.DataFrame({"count": [len(each) for each in listed], "boxes": [json.dumps(each) for each in listed]})

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("long", "count"), ColSpec("string", "boxes")])

    def write(self, outputs: Outputs, path: Path, *, frame: "pd.DataFrame") -> None:
        """As COCO's JSON where the file ends in .json: images, annotations (x, y, width, height, score), categories."""
        if path.suffix != ".json":
            super().write(outputs, path, frame=frame)
            return
        answered = frame[frame["count"].notna()]  # a picture that could not be read has none
        names = answered["image"].tolist() if "image" in frame else [str(row) for row in range(len(answered))]
        content = as_coco(outputs, names=[str(name) for name in names], class_names=self.class_names)
        write_whole(path, json.dumps(content, indent=1))

    # What shows a run

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Curves of precision, the confusion matrix, the interval of mAP50, and the worst pictures with their boxes."""
        from lantu.tasks import detection_figures as drawn
        from lantu.tasks.average_precision_interval import interval_over_pictures

        if not outputs:
            return
        found, truth = outputs["found"], outputs["truth"]
        yield "precision_recall", drawn.precision_recall(found, truth, self.class_names)
        yield "confidence", drawn.confidence(found, truth, self.class_names, threshold=self.threshold)
        yield "confusion", drawn.confusion(found, truth, self.class_names, threshold=self.threshold)
        if (interval := interval_over_pictures(found, truth)) is not None:
            row = {"map_50": [interval.value], "low": [interval.low], "high": [interval.high]}
            yield "map_50_interval", {**row, "pictures": [len(truth)]}
        if len(self.class_names) == 1:
            yield from self._froc(found, truth)
        part: Any = getattr(self._trainer and self._trainer.datamodule, "splits", {}).get(stage)
        if part is not None:
            order = drawn.worst_first(found, truth, threshold=self.threshold)
            chosen = [(part.picture(int(outputs["index"][row])), found[row], truth[row]) for row in order]
            yield (
                "worst_pictures",
                drawn.pictures(
                    chosen, self.class_names, threshold=self.threshold, title=f"The worst pictures of the {stage} split"
                ),
            )

    def _froc(self, found: list[Found], truth: list[Found]) -> Iterator[tuple[str, Any]]:
        """The FROC of one class of objects: its curve, its values, and its score with the interval."""
        from lantu.tasks import froc
        from lantu.tasks.detection_matching import match

        curve = froc.froc_of_detector([match(*pair) for pair in zip(found, truth, strict=True)])
        if curve is not None:
            yield "froc", froc.curve(curve)
            yield "froc", froc.table(curve)
            low, high = curve.interval
            yield "froc_interval", {"froc_score": [curve.score], "low": [low], "high": [high], "pictures": [len(truth)]}

    def samples(self, data: "DataModule", *, stage: str = "val") -> dict[str, Any]:
        """Some pictures of a split with what is found in them."""
        from lantu.tasks import detection_figures as drawn

        part: Any = data.splits.get(stage)
        if part is None or self.trainer.fast_dev_run:
            return {}
        rows = sorted({round(row) for row in torch.linspace(0, len(part) - 1, SHOWN).tolist()})
        x, y = part.__getitems__(rows)
        x, y = x.to(self.device), {name: each.to(self.device) for name, each in y.items()}
        training = self.net.training
        self.net.eval()
        with torch.no_grad():
            found = to_host(self.postprocess(self.net(x), y, self.threshold))
        self.net.train(training)
        truth = to_host(truth_of(y))
        chosen = [(part.picture(row), *pair) for row, pair in zip(rows, zip(found, truth, strict=True), strict=True)]
        title = f"Pictures of the {stage} split at step {self.trainer.global_step}"
        return {"boxes": drawn.pictures(chosen, self.class_names, threshold=self.threshold, title=title)}

    def per_example(self, outputs: Outputs) -> dict[str, Any] | None:
        """Of each picture how many objects there are and are found, hits, misses, false alarms, and F1 of them."""
        from lantu.tasks.detection_matching import counts

        columns = counts(outputs["found"], outputs["truth"], threshold=self.threshold)
        return {"row": outputs.get("row", outputs["index"]), **columns}

    @classmethod
    def baselines(cls, data: "DataModule") -> "list[Baseline]":
        """The commonest boxes of the training split, and a linear model on histograms of gradients."""
        from lantu.tasks.detection_baselines import fit

        return fit(data)


def as_coco(outputs: Outputs, *, names: list[str], class_names: list[str]) -> dict[str, Any]:
    """Predictions in COCO's words; class numbers count from 1 there."""
    annotations: list[dict[str, Any]] = []
    rows = zip(outputs["boxes"], outputs["scores"], outputs["labels"], strict=True)
    for number, (boxes, scores, labels) in enumerate(rows, start=1):
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            x, y, right, bottom = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [round(each, 2) for each in (x, y, right - x, bottom - y)],
                    "area": round((right - x) * (bottom - y), 2),
                    "iscrowd": 0,
                    "score": round(score, 5),
                }
            )
    sizes = outputs["size"].tolist()
    return {
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(zip(names, sizes, strict=True), start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)],
    }
