"""What a detector must beat: the commonest boxes, and a linear classifier on gradients in sliding windows."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.tasks.average_precision import AveragePrecision
from lantu.tasks.baselines import Baseline
from lantu.tasks.detection_matching import truth_of

CELL, ORIENTATIONS, GRID = 4, 9, 5
"""Pixels of a cell, directions of gradients, and cells on a side of a window."""
MOST_PICTURES = 300
"""Training pictures of the classical model."""
SIZES = 4
"""Window sizes of each class."""
NEGATIVES = 30
"""Windows of a training picture that show none of its objects."""
Predict = Callable[[Tensor], dict[str, Tensor]]
"""From a picture (C, H, W) to boxes (D, 4), scores and labels on the canvas."""


def fit(data: DataModule) -> list[Baseline]:
    """Fit both on the training split, and measure them on the others.

    Raises:
        UserError: the data are no pictures with boxes, or no training picture has a box.
    """
    if data.spec.get("task") != "detection":
        raise UserError("these baselines are for pictures with boxes.")
    made = []
    fitted: list[tuple[str, str, Callable[[DataModule], Predict]]] = [
        ("trivial", "the commonest boxes of the training pictures, in every picture", _commonest),
        ("classical", "logistic regression on histograms of gradients and colours in sliding windows", _windows),
    ]
    for name, description, make in fitted:
        started = time.perf_counter()
        predict = make(data)
        metrics = {
            f"{split}/{metric}": value
            for split in ("val", "test")
            if split in data.splits
            for metric, value in _measured(predict, data, split).items()
        }
        made.append(Baseline(name, description, metrics, time.perf_counter() - started))
    return made


def _measured(predict: Predict, data: DataModule, split: str) -> dict[str, float]:
    metric = AveragePrecision(data.spec["class_names"])
    for x, y in data.loader(data.splits[split]):
        found = [predict(picture) for picture in x]
        for each, scale in zip(found, y["scale"], strict=True):
            each["boxes"] = each["boxes"] / scale.repeat(2)
        metric.update(found, truth_of(y))
    return {name: float(value) for name, value in metric.compute().items()}


def _training(data: DataModule) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Pictures (C, H, W) with their boxes (M, 4) and labels (M,), not augmented."""
    part: Any = data.splits["train"]
    rows = np.sort(np.random.default_rng(0).permutation(len(part))[:MOST_PICTURES])
    found = []
    for row in rows:
        x, y = part.__getitems__([int(row)])
        there = (y["labels"][0] >= 0) & ~y["crowd"][0]
        found.append((x[0], y["boxes"][0][there], y["labels"][0][there]))
    if not any(len(boxes) for _, boxes, _ in found):
        raise UserError("no training picture has a box, so no baseline can be fitted.")
    return found


def _commonest(data: DataModule) -> Predict:
    from sklearn.cluster import KMeans

    training = _training(data)
    boxes = torch.cat([each for _, each, _ in training]).numpy()
    labels = torch.cat([each for *_, each in training]).numpy()
    found, scores, classes = [], [], []
    for label in np.unique(labels):
        its = boxes[labels == label]
        clusters = KMeans(min(20, len(np.unique(its, axis=0))), n_init=1, random_state=0).fit(its)
        found.append(clusters.cluster_centers_)
        scores.append(np.bincount(clusters.labels_) / len(training))
        classes.append(np.repeat(label, len(scores[-1])))
    answer = {
        "boxes": torch.tensor(np.concatenate(found), dtype=torch.float32),
        "scores": torch.tensor(np.concatenate(scores), dtype=torch.float32).clamp(max=1),
        "labels": torch.tensor(np.concatenate(classes)),
    }
    return lambda picture: {name: each.clone() for name, each in answer.items()}


def _windows(data: DataModule) -> Predict:
    from sklearn.linear_model import LogisticRegression
    from torchvision.ops import batched_nms, box_iou

    training = _training(data)
    random = np.random.default_rng(0)
    sizes = _sizes(training)
    background = len(data.spec["class_names"])
    height, width = training[0][0].shape[-2:]
    grid = _grid(sizes, (height, width))
    model = LogisticRegression(max_iter=300, class_weight="balanced")
    features, targets = [], []
    for picture, boxes, labels in training:
        chosen = grid[random.choice(len(grid), min(len(grid), 4 * NEGATIVES), replace=False)]
        away = chosen[(box_iou(chosen, boxes) < 0.3).all(dim=1)][:NEGATIVES]
        features.append(_features(picture, torch.cat([boxes, away])))
        targets.append(torch.cat([labels, torch.full((len(away),), background)]))
    model.fit(torch.cat(features).numpy(), torch.cat(targets).numpy())

    # once more, with the windows that were mistaken for objects
    for picture, boxes, _ in training[:100]:
        away = grid[(box_iou(grid, boxes) < 0.3).all(dim=1)]
        seen = _features(picture, away)
        wrong = model.predict_proba(seen.numpy())[:, :-1].max(axis=1) if len(away) else np.zeros(0)
        hardest = np.argsort(-wrong)[:NEGATIVES].copy()
        features.append(seen[hardest])
        targets.append(torch.full((len(hardest),), background))
    model.fit(torch.cat(features).numpy(), torch.cat(targets).numpy())
    classes = torch.tensor(model.classes_)

    def predict(picture: Tensor) -> dict[str, Tensor]:
        chances = torch.tensor(model.predict_proba(_features(picture, grid).numpy()), dtype=torch.float32)
        score, place = chances[:, classes != background].max(dim=1)
        label = classes[classes != background][place]
        kept = batched_nms(grid, score, label, 0.3)[:100]
        return {"boxes": grid[kept].clone(), "scores": score[kept], "labels": label[kept]}

    return predict


def _sizes(training: list[tuple[Tensor, Tensor, Tensor]]) -> np.ndarray:
    """Typical widths and heights (S, 2) of the objects of each class."""
    from sklearn.cluster import KMeans

    boxes = torch.cat([each for _, each, _ in training]).numpy()
    labels = torch.cat([each for *_, each in training]).numpy()
    spans = boxes[:, 2:] - boxes[:, :2]
    found = []
    for label in np.unique(labels):
        its = spans[labels == label]
        count = min(SIZES, len(np.unique(its, axis=0)))
        found.append(KMeans(count, n_init=1, random_state=0).fit(its).cluster_centers_)
    return np.concatenate(found)


def _grid(sizes: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """Windows (W, 4) of some sizes all over a canvas, a fifth of their size apart."""
    height, width = shape
    windows = []
    for wide, high in sizes:
        x = np.arange(0, max(1.0, width - wide + 1), max(4.0, wide / 5))
        y = np.arange(0, max(1.0, height - high + 1), max(4.0, high / 5))
        left, top = (each.ravel() for each in np.meshgrid(x, y))
        windows.append(np.column_stack([left, top, left + wide, top + high]))
    return torch.tensor(np.concatenate(windows), dtype=torch.float32)


def _features(picture: Tensor, boxes: Tensor) -> Tensor:
    """Histograms of gradients (Dalal and Triggs 2005) and mean colours in a grid over each box, (B, F)."""
    from torchvision.ops import roi_align

    grey = picture.mean(dim=0)
    down, right = F.pad(grey[2:] - grey[:-2], (0, 0, 1, 1)), F.pad(grey[:, 2:] - grey[:, :-2], (1, 1))
    strength = (down**2 + right**2).sqrt()
    direction = (torch.atan2(down, right) % torch.pi) / torch.pi * ORIENTATIONS
    bins = F.one_hot(direction.long().clamp(max=ORIENTATIONS - 1), ORIENTATIONS).permute(2, 0, 1) * strength
    maps = F.avg_pool2d(torch.cat([bins, picture])[None], CELL)
    cells = roi_align(maps, [boxes], GRID, spatial_scale=1 / CELL, aligned=True)
    gradients, colours = cells[:, :ORIENTATIONS].flatten(1), cells[:, ORIENTATIONS:].flatten(1)
    return torch.cat([gradients / gradients.norm(dim=1, keepdim=True).clamp(min=1e-6) * 3, colours], dim=1)
