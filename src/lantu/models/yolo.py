"""YOLO, written from the papers: a CSP backbone, a PAN neck, an anchor-free decoupled head, task-aligned assignment.

The blocks are in `yolo_blocks`; which points are trained to predict which object, in `yolo_assignment`.

- one stage that predicts boxes at the points of a grid: YOLO (Redmon et al. 2016), FCOS (Tian et al. 2019)
- CSP blocks (Wang et al. 2020, 1911.11929), all of whose steps are concatenated (ELAN; Wang et al. 2022, 2211.04800)
- pooling over growing windows (He et al. 2015, 1406.4729), a path from fine to coarse and back (PAN; Liu et al. 2018)
- separate branches for class and box (YOLOX; Ge et al. 2021, 2107.08430), of depthwise separable convolutions if asked
  (MobileNets; Howard et al. 2017, 1704.04861)
- each side's distance as a distribution (GFL; Li et al. 2020, 2006.04388), boxes compared by CIoU (1911.08287)
- task-aligned assignment (TOOD; Feng et al. 2021, 2108.07755), loss weights of PP-YOLOE (Xu et al. 2022, 2203.16250)

Suffixes: N pictures, M true boxes, A points, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.pretrained_detectors import Detections
from lantu.models.yolo_assignment import STRIDES, Grid, assign, corners, distances_to, distribution_loss, grid_of
from lantu.models.yolo_blocks import Backbone, Head, Neck

WIDTHS = (64, 128, 256, 512, 1024)
"""Channels of the stem and of the four stages, before `width_factor`."""
DEPTHS = (3, 6, 6, 3)
"""Residual blocks of the four stages, before `depth_factor`."""


class YOLO(nn.Module):
    """Finds objects in pictures whose sides are multiples of 32 pixels.

    Args:
        channels: of the pictures: 1 grey, 3 colour.
        classes: kinds of objects.
        depth_factor: for the number of blocks: 0.33 nano and small, 0.67 medium, 1 large.
        width_factor: for the channels: 0.25 nano, 0.5 small, 0.75 medium, 1 large.
        most_channels: at most so many in a stage, before `width_factor`.
        separable: the head's 3×3 convolutions are a depthwise and a 1×1 one.
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
        points: Grid,
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
