"""YOLO, written from the papers: a CSP backbone, a PAN neck, an anchor-free decoupled head, task-aligned assignment.

From top to bottom: the network, then which of its points answer for which object, then the loss.

- one stage that predicts boxes at the points of a grid: YOLO (Redmon et al. 2016), FCOS (Tian et al. 2019)
- CSP blocks (Wang et al. 2020, 1911.11929), all of whose steps are concatenated (ELAN; Wang et al. 2022, 2211.04800)
- pooling over growing windows (He et al. 2015, 1406.4729), a path from fine to coarse and back (PAN; Liu et al. 2018)
- separate branches for class and box (YOLOX; Ge et al. 2021, 2107.08430), of depthwise separable convolutions if asked
  (MobileNets; Howard et al. 2017, 1704.04861)
- each side's distance as a distribution (GFL; Li et al. 2020, 2006.04388), boxes compared by CIoU (1911.08287)
- task-aligned assignment (TOOD; Feng et al. 2021, 2108.07755), loss weights of PP-YOLOE (Xu et al. 2022, 2203.16250)

Suffixes: N pictures, M true boxes, A points, C classes.
"""

from collections.abc import Sequence
from functools import partial
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.pretrained_detectors import Detections

STRIDES = (8, 16, 32)
"""Pixels between the points of each level."""
WIDTHS = (64, 128, 256, 512, 1024)
"""Channels of the stem and of the four stages, before `width_factor`."""
DEPTHS = (3, 6, 6, 3)
"""Residual blocks of the four stages, before `depth_factor`."""
PRIOR = 0.01
"""How likely an object is thought at each point before training (Lin et al. 2017)."""


class YOLO(nn.Module):
    """Finds objects in pictures whose sides are multiples of 32 pixels.

    Args:
        channels: of the pictures: 1 grey, 3 colour.
        classes: kinds of objects.
        depth_factor: for the number of blocks: 0.33 nano and small, 0.67 medium, 1 large.
        width_factor: for the channels: 0.25 nano, 0.5 small, 0.75 medium, 1 large.
        most_channels: at most so many in a stage, before `width_factor`.
        separable: the head's 3×3 convolutions are a depthwise and a 1×1 one, which saves a third of a step's time.
        bins: values of a side's distribution; a side is at most bins - 1 strides from its point.
        topk: points that may answer for an object.
        class_weight, box_weight, bins_weight: of the parts of the loss.

    Shape: x (N, channels, H, W), boxes (N, M, 4) as x1, y1, x2, y2 in pixels, labels (N, M) with -1 where there is no
    box; answers `Detections` with K = A = HW (1/8² + 1/16² + 1/32²) candidates.
    """

    needs_nms = True

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        depth_factor: float = 0.33,
        width_factor: float = 0.25,
        most_channels: int = 512,
        separable: bool = False,
        bins: int = 16,
        topk: int = 10,
        class_weight: float = 1.0,
        box_weight: float = 2.5,
        bins_weight: float = 0.5,
    ) -> None:
        super().__init__()
        if depth_factor <= 0 or width_factor <= 0 or bins < 2 or topk < 1:
            raise UserError(
                "`model.depth_factor`, `model.width_factor` and `model.topk` are above 0, `model.bins` above 1."
            )
        widths = [max(8, round(min(each, most_channels) * width_factor / 8) * 8) for each in WIDTHS]
        blocks = [max(1, round(each * depth_factor)) for each in DEPTHS]
        self.classes, self.bins, self.topk = classes, bins, topk
        self.weights = {"class": class_weight, "box": box_weight, "bins": bins_weight}
        self.backbone = Backbone(channels, widths, blocks)
        self.neck = Neck(widths[2:], blocks=blocks[0])
        self.head = Head(widths[2:], classes=classes, bins=bins, separable=separable)
        self.register_buffer("bin_values", torch.arange(bins, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor, boxes: Tensor | None = None, labels: Tensor | None = None) -> Detections:
        if x.shape[-2] % STRIDES[-1] or x.shape[-1] % STRIDES[-1]:
            raise UserError(f"YOLO takes pictures whose sides are multiples of {STRIDES[-1]} pixels.")
        levels = self.neck(self.backbone(x))
        logits_NAC, sides_NA4B = self.head(levels)
        points = grid_of(levels)
        distances = sides_NA4B.softmax(dim=-1) @ self.bin_values  # (N, A, 4): left, top, right, bottom, in strides
        found_NA4 = corners(points, distances)
        losses = None
        if boxes is not None and labels is not None:
            losses = self.losses(logits_NAC, sides_NA4B, found_NA4, points, boxes=boxes, labels=labels)
        return Detections(found_NA4, logits_NAC.sigmoid(), losses)

    def losses(
        self,
        logits_NAC: Tensor,
        sides_NA4B: Tensor,
        found_NA4: Tensor,
        points: "Grid",
        *,
        boxes: Tensor,
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """The weighted parts of the loss, scalars; each is a mean weighted by how well points answer."""
        from torchvision.ops import complete_box_iou_loss

        chosen = assign(
            logits_NAC.detach().sigmoid(), found_NA4.detach(), points.centres, boxes, labels,
            topk=self.topk, reach=STRIDES[0] / 2,
        )  # fmt: skip
        target_NAC = F.one_hot(chosen.labels, self.classes) * chosen.quality[..., None]
        total = target_NAC.sum().clamp(min=1)
        there, weight = chosen.there, chosen.quality[chosen.there]
        image, point = there.nonzero(as_tuple=True)
        truth = boxes[image, chosen.objects[there]]
        wanted = distances_to(truth, points.centres[point], points.strides[point])
        overlap = complete_box_iou_loss(found_NA4[there], truth, reduction="none")
        parts = {
            "class": F.binary_cross_entropy_with_logits(logits_NAC, target_NAC, reduction="sum"),
            "box": (overlap * weight).sum(),
            "bins": (distribution_loss(sides_NA4B[there], wanted) * weight).sum(),
        }
        return {name: self.weights[name] * part / total for name, part in parts.items()}


# The network


class Convolution(nn.Sequential):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class Residual(nn.Module):
    """Two 3×3 convolutions, added to what came in unless `shortcut` is False."""

    def __init__(self, width: int, *, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(Convolution(width, width, 3), Convolution(width, width, 3))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class CSP(nn.Module):
    """Half of the channels pass through blocks one after the other; all that there was on the way is put together."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.begin = Convolution(inputs, 2 * half)
        self.blocks = nn.ModuleList(Residual(half, shortcut=shortcut) for _ in range(blocks))
        self.end = Convolution((2 + blocks) * half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.begin(x).chunk(2, dim=1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.end(torch.cat(parts, dim=1))


class Pooling(nn.Module):
    """Maxima over windows of 5, 9 and 13 points, beside the features themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.begin, self.end = Convolution(width, width // 2), Convolution(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.begin(x)]
        for _ in range(3):  # 5 over 5 is 9, and again 13
            parts.append(F.max_pool2d(parts[-1], 5, stride=1, padding=2))
        return self.end(torch.cat(parts, dim=1))


class Backbone(nn.Module):
    """Features at strides 8, 16 and 32."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = Convolution(channels, widths[0], 3, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(Convolution(before, after, 3, stride=2), CSP(after, after, blocks=count))
            for before, after, count in zip(widths, widths[1:], blocks, strict=False)
        )
        self.pooling = Pooling(widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        x, levels = self.stem(x), []
        for stage in self.stages:
            levels.append(x := stage(x))
        return [*levels[1:-1], self.pooling(levels[-1])]


class Neck(nn.Module):
    """Coarse features help fine ones, then fine ones help coarse ones."""

    def __init__(self, widths: Sequence[int], *, blocks: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down_to_middle = CSP(coarse + middle, middle, blocks=blocks, shortcut=False)
        self.down_to_fine = CSP(middle + fine, fine, blocks=blocks, shortcut=False)
        self.halve_fine = Convolution(fine, fine, 3, stride=2)
        self.up_to_middle = CSP(fine + middle, middle, blocks=blocks, shortcut=False)
        self.halve_middle = Convolution(middle, middle, 3, stride=2)
        self.up_to_coarse = CSP(middle + coarse, coarse, blocks=blocks, shortcut=False)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = levels
        middle = self.down_to_middle(torch.cat([F.interpolate(coarse, scale_factor=2), middle], dim=1))
        fine = self.down_to_fine(torch.cat([F.interpolate(middle, scale_factor=2), fine], dim=1))
        middle = self.up_to_middle(torch.cat([self.halve_fine(fine), middle], dim=1))
        coarse = self.up_to_coarse(torch.cat([self.halve_middle(middle), coarse], dim=1))
        return [fine, middle, coarse]


class Head(nn.Module):
    """At every point of every level: a logit for each class, and for each side of a box logits of its distance."""

    def __init__(self, widths: Sequence[int], *, classes: int, bins: int, separable: bool) -> None:
        super().__init__()
        hidden = widths[0]
        self.bins = bins
        made = partial(_branch, separable=separable)
        self.class_branches = nn.ModuleList(made(width, max(hidden, min(classes, 100)), classes) for width in widths)
        self.box_branches = nn.ModuleList(made(width, hidden, 4 * bins) for width in widths)
        for branch in self.class_branches:
            nn.init.constant_(branch[-1].bias, -log((1 - PRIOR) / PRIOR))  # type: ignore[index]

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits = [branch(level).flatten(2) for branch, level in zip(self.class_branches, levels, strict=True)]
        sides = [branch(level).flatten(2) for branch, level in zip(self.box_branches, levels, strict=True)]
        # in float32: a sigmoid of bfloat16 cannot tell two sure detections apart
        logits_NAC = torch.cat(logits, dim=2).transpose(1, 2).float()
        return logits_NAC, torch.cat(sides, dim=2).transpose(1, 2).float().unflatten(2, (4, self.bins))


def _branch(inputs: int, hidden: int, outputs: int, *, separable: bool) -> nn.Sequential:
    if not separable:
        steps = [Convolution(inputs, hidden, 3), Convolution(hidden, hidden, 3)]
    else:
        steps = [
            Convolution(inputs, inputs, 3, groups=inputs), Convolution(inputs, hidden),
            Convolution(hidden, hidden, 3, groups=hidden), Convolution(hidden, hidden),
        ]  # fmt: skip
    return nn.Sequential(*steps, nn.Conv2d(hidden, outputs, 1))


# Points and boxes


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


# Which points answer for which object


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


# The loss of a distance


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
