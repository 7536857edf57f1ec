"""Which predicted boxes hit which true ones, for pictures, curves and tables; average precision has its own."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

Boxes = dict[str, torch.Tensor]
"""boxes (D, 4), labels (D,), and scores (D,) where they are predicted."""
IOU = 0.5
"""The overlap that makes a hit."""


def truth_of(y: dict[str, torch.Tensor]) -> list[Boxes]:
    """The objects of each picture, in pixels of the original one; a crowd says `iscrowd`."""
    boxes = y["boxes"] / y["scale"].repeat(1, 2)[:, None]
    there = y["labels"] >= 0
    return [
        {"boxes": box[real], "labels": label[real], "iscrowd": crowd[real].long()}
        for box, label, crowd, real in zip(boxes, y["labels"], y["crowd"], there, strict=True)
    ]


class Match(NamedTuple):
    """One picture's predicted boxes (D,), the likeliest first, against its true ones (M,)."""

    hits: np.ndarray
    """Number of the true box that a predicted one hits; -1: none."""
    ignored: np.ndarray
    """Whether a predicted box lies in a crowd, and so is neither right nor wrong."""
    scores: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    """Class of each true box that is no crowd."""

    @property
    def false_alarms(self) -> int:
        return int(((self.hits < 0) & ~self.ignored).sum())

    @property
    def misses(self) -> int:
        return len(self.truth) - int((self.hits >= 0).sum())


def match(found: Boxes, truth: Boxes, *, threshold: float = 0.0, same_class: bool = True) -> Match:
    """Let each predicted box, the likeliest first, hit the free true box that it overlaps most.

    Args:
        threshold: predicted boxes below this score are left out.
        same_class: whether a box of another class can be hit; a confusion matrix asks for that.
    """
    from torchvision.ops import box_iou

    sure = found["scores"] >= threshold
    boxes, scores, labels = (found[name][sure] for name in ("boxes", "scores", "labels"))
    crowd = truth["iscrowd"].bool() if "iscrowd" in truth else torch.zeros(len(truth["labels"]), dtype=torch.bool)
    real, kinds = truth["boxes"][~crowd], truth["labels"][~crowd]
    overlaps = box_iou(boxes, real)
    if same_class:
        overlaps = overlaps.masked_fill(labels[:, None] != kinds, 0)
    table = overlaps.numpy().copy()
    hits = np.full(len(boxes), -1)
    for row in np.argsort(-scores.numpy(), kind="stable") if len(real) else ():
        column = int(table[row].argmax())
        if table[row, column] >= IOU:
            hits[row] = column
            table[:, column] = 0
    ignored = (hits < 0) & _inside(boxes, truth["boxes"][crowd])
    return Match(hits, ignored, scores.numpy(), labels.numpy(), kinds.numpy())


def counts(found: Sequence[Boxes], truth: Sequence[Boxes], *, threshold: float) -> dict[str, list[Any]]:
    """Columns with a row for each picture: target and prediction (numbers of boxes), hits, misses, false alarms, F1."""
    matches = [match(*pair, threshold=threshold) for pair in zip(found, truth, strict=True)]
    hits = [int((each.hits >= 0).sum()) for each in matches]
    return {
        "target": [len(each.truth) for each in matches],
        "prediction": [len(each.hits) for each in matches],
        "hits": hits,
        "misses": [each.misses for each in matches],
        "false_alarms": [each.false_alarms for each in matches],
        "score": [f1(hit, each) for hit, each in zip(hits, matches, strict=True)],
    }


def f1(hits: int, each: Match) -> float:
    """F1 of one picture; 1 where there is nothing and nothing was found."""
    wrong = each.misses + each.false_alarms
    return 2 * hits / (2 * hits + wrong) if hits or wrong else 1.0


def _inside(boxes: torch.Tensor, crowds: torch.Tensor) -> np.ndarray:
    """Whether half of a box lies in one of some regions, (D,)."""
    if not len(crowds) or not len(boxes):
        return np.zeros(len(boxes), bool)
    first = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    last = torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    shared = (last - first).clamp(min=0).prod(dim=-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1, keepdim=True).clamp(min=1e-9)
    return ((shared / area) >= IOU).any(dim=1).numpy()
