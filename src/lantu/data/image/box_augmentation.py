"""Random augmentation of pictures with their boxes, determined by seed, epoch and example alone."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from lantu.errors import UserError

FILL = 114
"""Grey level around a picture (Ge et al. 2021)."""
Sample = tuple[Tensor, Tensor, Tensor]
"""A picture (C, H, W) uint8, its boxes (M, 4) in pixels of it, their labels (M,)."""


class BoxAugmentation:
    """Mosaic, then transforms of torchvision, then boxes clipped to the picture.

    Args:
        transforms: of `torchvision.transforms.v2`, by any names, applied in order; None is left out.
        mosaic: share of the examples that are mosaics of four pictures (Bochkovskiy et al. 2020).
        mosaic_until: share of the epochs after which there are no more mosaics (Ge et al. 2021).
        visible: smallest share of a box's area inside the picture with which the box is kept.
    """

    def __init__(
        self,
        transforms: Mapping[str, Any] | None = None,
        *,
        mosaic: float = 0.0,
        mosaic_until: float = 1.0,
        visible: float = 0.25,
    ) -> None:
        for name, share in (("mosaic", mosaic), ("mosaic_until", mosaic_until), ("visible", visible)):
            if not 0 <= share <= 1:
                raise UserError(f"`data.augment.{name}={share}` is a share and lies between 0 and 1.")
        self.transform = (
            v2.Compose(chosen) if (chosen := [each for each in (transforms or {}).values() if each]) else None
        )
        self.mosaic, self.mosaic_until, self.visible = mosaic, mosaic_until, visible

    def __call__(
        self, load: Callable[[int], Sample], example: int, *, size: int, seed: int, epoch: int, progress: float
    ) -> Sample:
        """Return one augmented training example.

        Args:
            load: returns the sample of an example's number.
            example: its number, below `size`.
            seed, epoch: with the number they determine all random choices.
            progress: share of the epochs that are done.
        """
        random = np.random.default_rng((seed, epoch, example))
        if progress < self.mosaic_until and random.random() < self.mosaic:
            others = random.integers(size, size=3).tolist()
            image, boxes, labels = mosaic_of([load(number) for number in (example, *others)], random)
        else:
            image, boxes, labels = load(example)
        height, width = image.shape[-2:]
        areas = _areas(_clipped(boxes, height, width))
        if self.transform is not None:
            with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's own random numbers
                torch.manual_seed(int(random.integers(2**63)))
                image, boxes, scale = self._transformed(image, boxes)
                areas = areas * scale
        cut = _clipped(boxes, height, width)
        size_there = _areas(cut)
        seen = (size_there > self.visible * areas) & ((cut[:, 2:] - cut[:, :2]).amin(dim=1) > 1)
        return image, cut[seen], labels[seen]

    def _transformed(self, image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return picture and boxes transformed together, and each box's area over the one before (M,)."""
        assert self.transform is not None
        height, width = image.shape[-2:]
        options: dict[str, Any] = {"format": "XYXY", "canvas_size": (height, width)}
        # not clamped, so that it can be told how much of a box has left the picture
        wrapped = tv_tensors.BoundingBoxes(boxes, clamping_mode=None, **options)
        changed, moved = self.transform(tv_tensors.Image(image), wrapped)
        if changed.shape[-2:] != (height, width):
            raise UserError("`data.augment.transforms`: a transform changed the size of the picture, which must stay.")
        before = _areas(boxes)
        return changed.as_subclass(Tensor), moved.as_subclass(Tensor), _areas(moved.as_subclass(Tensor)) / before


def mosaic_of(samples: list[Sample], random: np.random.Generator) -> Sample:
    """Return a mosaic of four pictures around a random point, each cropped to its quarter at a random scale."""
    height, width = samples[0][0].shape[-2:]
    y = int(height * random.uniform(0.3, 0.7))
    x = int(width * random.uniform(0.3, 0.7))
    canvas = torch.full_like(samples[0][0], FILL)
    found_boxes, found_labels = [], []
    quarters = [(0, 0, y, x), (0, x, y, width - x), (y, 0, height - y, x), (y, x, height - y, width - x)]
    for (image, boxes, labels), (top, left, high, wide) in zip(samples, quarters, strict=True):
        scale = max(high / height, wide / width, random.uniform(0.5, 1.0))  # large enough to fill the quarter
        shape = [max(high, round(height * scale)), max(wide, round(width * scale))]
        small = v2.functional.resize(image, shape, antialias=True)
        down, right = random.integers(shape[0] - high + 1), random.integers(shape[1] - wide + 1)
        canvas[:, top : top + high, left : left + wide] = small[:, down : down + high, right : right + wide]
        moved = boxes * boxes.new_tensor([shape[1] / width, shape[0] / height] * 2)
        moved = moved + moved.new_tensor([left - right, top - down] * 2)
        low, far = moved.new_tensor([left, top] * 2), moved.new_tensor([left + wide, top + high] * 2)
        cut = moved.clamp(min=low, max=far)
        kept = _areas(cut) > 0.25 * _areas(moved)
        found_boxes.append(cut[kept])
        found_labels.append(labels[kept])
    return canvas, torch.cat(found_boxes), torch.cat(found_labels)


def _clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
