"""The output of every object detector, and detectors from transformers and torchvision."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.transformer import form_of


class Detections(NamedTuple):
    """The output of a detector for a batch of N images with K candidates each."""

    boxes: Tensor
    """(N, K, 4): x1, y1, x2, y2 in pixels of the network's input."""
    scores: Tensor
    """(N, K, classes) in [0, 1]."""
    losses: dict[str, Tensor] | None
    """Scalars whose sum is the training objective; None without targets."""


class TransformersDetector(nn.Module):
    """Any `AutoModelForObjectDetection` of transformers, such as DETR and its descendants.

    Queries are matched one to one with the true boxes (Carion et al. 2020), so no non-maximum suppression is needed.

    Args:
        classes: number of object classes.
        pretrained: a folder or a name on the Hugging Face hub, with its own input statistics; None: new weights.
        config: of new weights: transformers' config options, with `model_type`.

    Shape: x (N, channels, H, W), boxes (N, M, 4) in pixels, labels (N, M) with -1 where there is no box.

    Raises:
        UserError: transformers has no such detector, or cannot read the weights.
    """

    needs_nms = False
    net: Any

    def __init__(self, classes: int, *, pretrained: str | None = None, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModelForObjectDetection

        options = {**(config or {})}
        kind = str(options.pop("model_type", ""))
        try:
            if pretrained is not None:
                self.net = AutoModelForObjectDetection.from_pretrained(
                    pretrained, num_labels=classes, ignore_mismatched_sizes=True
                )
            else:
                options.pop("num_labels", None)  # a saved `form` contains it
                self.net = AutoModelForObjectDetection.from_config(
                    AutoConfig.for_model(kind, **{**options, "num_labels": classes})
                )
                _thaw(self.net)
        except (ValueError, OSError, TypeError) as error:
            option = f"pretrained={pretrained}" if pretrained else f"config.model_type={kind}"
            raise UserError(f"`model.{option}` makes no detector: {str(error).splitlines()[0]}") from error
        self.softmax = self.net.config.model_type in WITH_BACKGROUND

    @property
    def form(self) -> dict[str, Any]:
        """The `config` that rebuilds this architecture without the pretrained weights."""
        return form_of(self.net)

    def forward(self, x: Tensor, boxes: Tensor | None = None, labels: Tensor | None = None) -> Detections:
        height, width = x.shape[-2:]
        size = x.new_tensor([width, height, width, height])
        targets = None
        if boxes is not None and labels is not None:
            relative = as_centres(boxes) / size
            targets = [
                {"class_labels": label[label >= 0], "boxes": box[label >= 0]}
                for box, label in zip(relative, labels, strict=True)
            ]
        found = self.net(pixel_values=x, labels=targets)
        logits = found.logits.float()
        scores = logits.softmax(dim=-1)[..., :-1] if self.softmax else logits.sigmoid()
        losses = None if targets is None else {"loss": found.loss}
        return Detections(as_corners(found.pred_boxes.float()) * size, scores, losses)


WITH_BACKGROUND = ("detr", "yolos", "table-transformer")
"""Detectors with a softmax whose last class is "no object"; the others score each class with a sigmoid."""


class TorchvisionDetector(nn.Module):
    """FCOS (Tian et al. 2019) or RetinaNet (Lin et al. 2017) of torchvision, on a feature pyramid over a ResNet.

    Args:
        kind: fcos or retinanet.
        channels: of the images.
        classes: number of object classes.
        backbone: resnet18, resnet34, resnet50, ... with new weights.
        width: channels of the pyramid and of the heads.
        convolutions: in each head.

    Shape: as in `TransformersDetector`.
    """

    needs_nms = True

    def __init__(
        self,
        kind: str,
        channels: int,
        classes: int,
        *,
        backbone: str = "resnet18",
        width: int = 128,
        convolutions: int = 4,
    ) -> None:
        super().__init__()
        if kind not in ("fcos", "retinanet"):
            raise UserError(f"`model.kind={kind}`: torchvision's detectors here are fcos and retinanet.")
        if width % 32 or width < 64 or convolutions < 1:
            raise UserError(
                "`model.width` of torchvision's detectors is a multiple of 32 from 64 on, `model.convolutions` above 0."
            )
        if kind == "retinanet" and convolutions != 4:
            raise UserError("`model.convolutions`: torchvision's RetinaNet has 4 in each head.")
        from torchvision.models.detection import FCOS, RetinaNet
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.fcos import FCOSHead
        from torchvision.models.detection.retinanet import RetinaNetHead

        pyramid = _pyramid(backbone, channels, width)
        sizes = tuple((each, each * 2 ** (1 / 3), each * 2 ** (2 / 3)) for each in (16, 32, 64, 128, 256))
        anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)) if kind == "retinanet" else None
        self.net: Any = (FCOS if kind == "fcos" else RetinaNet)(pyramid, classes, anchor_generator=anchors)
        count = self.net.anchor_generator.num_anchors_per_location()[0]
        head: Any = FCOSHead if kind == "fcos" else RetinaNetHead
        self.net.head = (
            head(width, count, classes) if kind == "retinanet" else head(width, count, classes, convolutions)
        )
        self.centerness = kind == "fcos"

    def forward(self, x: Tensor, boxes: Tensor | None = None, labels: Tensor | None = None) -> Detections:
        from torchvision.models.detection.image_list import ImageList

        features = list(self.net.backbone(x).values())
        heads = self.net.head(features)
        (anchors,) = self.net.anchor_generator(ImageList(x, [tuple(x.shape[-2:])]), features)  # of every image alike
        losses = None
        if boxes is not None and labels is not None:
            targets = [
                {"boxes": box[label >= 0], "labels": label[label >= 0]}
                for box, label in zip(boxes, labels, strict=True)
            ]
            each = [[feature.shape[-2] * feature.shape[-1] for feature in features]] if self.centerness else []
            losses = self.net.compute_loss(targets, heads, [anchors] * len(x), *each)
        scores = heads["cls_logits"].float().sigmoid()
        if self.centerness:
            scores = (scores * heads["bbox_ctrness"].float().sigmoid()).sqrt()
        answers = heads["bbox_regression"].float()
        repeated = anchors.expand(answers.shape[0], -1, -1)  # not by len(x), which a trace for export would fix
        found = (
            self.net.box_coder.decode(answers, repeated)
            if self.centerness
            else self.net.box_coder.decode_single(answers.flatten(0, 1), repeated.flatten(0, 1)).view_as(answers)
        )
        return Detections(found, scores, losses)


def as_corners(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre, width, height to x1, y1, x2, y2."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def as_centres(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from x1, y1, x2, y2 to centre, width, height."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + last) / 2, last - first], dim=-1)


def _pyramid(name: str, channels: int, width: int) -> nn.Module:
    """Build a feature pyramid: features at strides 8 to 128, `width` channels each."""
    from torchvision import models
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    if not name.startswith("resnet") or name not in models.list_models():
        known = ", ".join(each for each in models.list_models() if each.startswith("resnet"))
        raise UserError(
            f"`model.backbone={name}`: there is no such residual network in torchvision. There are: {known}."
        )
    net = models.get_model(name, weights=None)
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    stages = {f"layer{number}": str(number) for number in (2, 3, 4)}
    inputs = [net.inplanes // 4, net.inplanes // 2, net.inplanes]
    return BackboneWithFPN(net, stages, inputs, width, LastLevelP6P7(width, width))


def _thaw(net: nn.Module) -> None:
    """Make a new backbone trainable: DETR and Deformable DETR freeze parts of it, assuming pretrained weights."""
    for module in net.modules():
        for name, child in module.named_children():
            if type(child).__name__.endswith("FrozenBatchNorm2d"):
                setattr(module, name, nn.BatchNorm2d(len(child.weight)))  # type: ignore[arg-type]
    for name, parameter in net.named_parameters():
        if "backbone" in name:
            parameter.requires_grad_(True)
