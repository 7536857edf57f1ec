"""Task-aligned assignment of YOLO's points to objects, and the geometry and loss of boxes at points.

Suffixes: N pictures, M true boxes, A points, C classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (8, 16, 32)
"""Pixels between the points of each level."""


class Grid(NamedTuple):
    """The points of all levels."""

    centres: Tensor
    """(A, 2): x, y in pixels."""
    strides: Tensor
    """(A, 1): pixels."""


def grid_of(levels: list[Tensor]) -> Grid:
    """The centres of the cells of feature maps at `STRIDES`."""
    centres, strides = [], []
    for level, stride in zip(levels, STRIDES, strict=True):
        height, width = level.shape[-2:]
        y = (torch.arange(height, device=level.device, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(width, device=level.device, dtype=torch.float32) + 0.5) * stride
        centres.append(torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1))
        strides.append(torch.full((height * width, 1), float(stride), device=level.device))
    return Grid(torch.cat(centres), torch.cat(strides))


def corners(points: Grid, distances: Tensor) -> Tensor:
    """Boxes (N, A, 4) whose sides lie at distances (N, A, 4), in strides, from their points."""
    first, last = (distances * points.strides).chunk(2, dim=-1)
    return torch.cat([points.centres - first, points.centres + last], dim=-1)


def distances_to(boxes: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """How far the sides of boxes (P, 4) lie from points (P, 2), in their strides (P, 1): left, top, right, bottom."""
    return torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1) / strides


class Assignment(NamedTuple):
    """What the points (N, A) are to answer."""

    there: Tensor
    """Whether a point answers for an object, bool."""
    objects: Tensor
    """For which of M; any, where it answers for none."""
    labels: Tensor
    """That object's class; any, where there is none."""
    quality: Tensor
    """How sure it should be of it, in [0, 1]; 0 where there is none."""


@torch.no_grad()
def assign(
    scores_NAC: Tensor,
    found_NA4: Tensor,
    centres_A2: Tensor,
    boxes_NM4: Tensor,
    labels_NM: Tensor,
    *,
    topk: int = 10,
    alpha: float = 1.0,
    beta: float = 6.0,
    reach: float = 4.0,
) -> Assignment:
    """Task-aligned assignment: points that see an object's class and its box best answer for it.

    Of the points inside an object's box the `topk` of the largest score^alpha · IoU^beta are chosen. A point that
    several objects choose goes to the one that its box overlaps most. A point's target is its alignment, scaled so that
    the best of an object's points is as sure as the best IoU that the object has.

    Args:
        scores_NAC: probabilities; found_NA4: predicted boxes; centres_A2: the points.
        boxes_NM4, labels_NM: the objects, class -1 where there is none.
        reach: pixels around an object's centre that count as inside it, so that a tiny box has a point too.
    """
    real_NM1 = (labels_NM >= 0)[..., None]
    most = labels_NM.shape[1]
    if not most:
        nothing = torch.zeros(scores_NAC.shape[:2], device=scores_NAC.device)
        return Assignment(nothing.bool(), nothing.long(), nothing.long(), nothing)
    centre_NM2, half_NM2 = (boxes_NM4[..., :2] + boxes_NM4[..., 2:]) / 2, (boxes_NM4[..., 2:] - boxes_NM4[..., :2]) / 2
    away_NMA2 = (centres_A2 - centre_NM2[:, :, None]).abs()
    inside_NMA = (away_NMA2 <= half_NM2.clamp(min=reach)[:, :, None]).all(dim=-1) & real_NM1

    overlap_NMA = overlaps(boxes_NM4, found_NA4)
    wanted = labels_NM.clamp(min=0)[..., None].expand(-1, -1, scores_NAC.shape[1])
    score_NMA = scores_NAC.transpose(1, 2).gather(1, wanted)
    aligned_NMA = score_NMA**alpha * overlap_NMA**beta * inside_NMA
    ranked = torch.where(inside_NMA, aligned_NMA, -1.0).topk(min(topk, scores_NAC.shape[1]), dim=-1).indices
    chosen_NMA = torch.zeros_like(inside_NMA).scatter_(-1, ranked, True) & inside_NMA

    objects_NA = torch.where(chosen_NMA, overlap_NMA, -1.0).argmax(dim=1)
    chosen_NMA &= F.one_hot(objects_NA, most).transpose(1, 2).bool()
    aligned_NMA = aligned_NMA * chosen_NMA
    best_aligned = aligned_NMA.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    best_overlap = (overlap_NMA * chosen_NMA).amax(dim=-1, keepdim=True)
    quality_NA = (aligned_NMA / best_aligned * best_overlap).amax(dim=1)
    labels_NA = labels_NM.clamp(min=0).gather(1, objects_NA)
    return Assignment(chosen_NMA.any(dim=1), objects_NA, labels_NA, quality_NA)


def overlaps(boxes_NM4: Tensor, found_NA4: Tensor) -> Tensor:
    """IoU (N, M, A) of every true with every predicted box of a picture."""
    first = torch.maximum(boxes_NM4[:, :, None, :2], found_NA4[:, None, :, :2])
    last = torch.minimum(boxes_NM4[:, :, None, 2:], found_NA4[:, None, :, 2:])
    shared = (last - first).clamp(min=0).prod(dim=-1)
    areas = (boxes_NM4[..., 2:] - boxes_NM4[..., :2]).prod(dim=-1)[:, :, None]
    found_areas = (found_NA4[..., 2:] - found_NA4[..., :2]).prod(dim=-1)[:, None]
    return shared / (areas + found_areas - shared).clamp(min=1e-9)


def distribution_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Distribution focal loss (P,), the mean over four sides: cross-entropy with the two bins next to the distance.

    Args:
        logits: (P, 4, bins).
        distances: (P, 4) in bins; those beyond the last bin count as just below it.
    """
    last = logits.shape[-1] - 1
    distances = distances.clamp(0, last - 0.01)
    low = distances.long()
    share = distances - low
    chances = logits.log_softmax(dim=-1)
    below = chances.gather(-1, low[..., None])[..., 0]
    above = chances.gather(-1, low[..., None] + 1)[..., 0]
    return -((1 - share) * below + share * above).mean(dim=-1)
