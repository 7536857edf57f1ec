"""Pictures with boxes, fetched a whole batch at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lantu.data.image.box_augmentation import BoxAugmentation, Sample
from lantu.data.image.boxes import NOTHING, Objects
from lantu.data.image.letterbox import Canvases, scaled_size
from lantu.data.image.read_picture import read_picture
from lantu.data.samplers import Chosen

Batch = tuple[Tensor, dict[str, Tensor]]


class BoxPictures(Dataset):
    """The pictures of a split, with their boxes.

    Args:
        canvases: of all pictures; rows: which of them are in this split (N,).
        sizes: width and height (N, 2) of each picture on the disk.
        objects: its boxes; None: not known, and to be predicted.
        finish: from bytes (N, H, W, C) to what the network sees.
        augment: for training batches; progress: the share of the training that is done before an epoch.
    """

    def __init__(
        self,
        canvases: Canvases,
        rows: np.ndarray,
        sizes: np.ndarray,
        objects: list[Objects] | None,
        *,
        finish: Callable[[Tensor], Tensor],
        augment: BoxAugmentation | None = None,
        progress: Callable[[int], float] = lambda epoch: 0.0,
    ) -> None:
        self.canvases, self.rows, self.sizes, self.objects = canvases, rows, sizes, objects
        self.finish, self.augment, self._progress = finish, augment, progress
        scaled = [scaled_size((int(width), int(height)), canvases.shape) for width, height in sizes]
        self.scales = (np.array(scaled, np.float64).reshape(-1, 2) / sizes).astype(np.float32)
        """From a picture's pixels to the canvas's, (N, 2) in x and y."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Batch:
        augment = self.augment if isinstance(indices, Chosen) else None
        if augment is None or not isinstance(indices, Chosen):
            samples = [self.sample(index) for index in indices]
        else:
            progress = self._progress(indices.epoch)
            samples = [
                augment(self.sample, index, size=len(self), seed=indices.seed, epoch=indices.epoch, progress=progress)
                for index in indices
            ]
        # contiguous first, as a picture of one channel would otherwise be, so that they stack
        x = self.finish(torch.stack([image.permute(1, 2, 0) for image, _, _ in samples]))
        y = {
            "index": torch.tensor(list(indices)),
            "scale": torch.from_numpy(self.scales[indices]),
            "size": torch.from_numpy(self.sizes[indices]),
        }
        return x, y if self.objects is None else {**_padded(samples), **y}

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = self.__getitems__([index])
        return x[0], {name: each[0] for name, each in y.items()}

    def picture(self, index: int) -> np.ndarray:
        """The original picture (H, W, C) as bytes, to draw boxes on."""
        return read_picture(self.canvases.cells[int(self.rows[index])])

    def sample(self, index: int) -> Sample:
        """A picture as bytes (C, H, W), its boxes (M, 4) in pixels of the canvas, their labels (M,).

        A label of a crowd is -2 - its class, so that it follows its box through an augmentation.
        """
        image = torch.from_numpy(np.array(self.canvases[int(self.rows[index])])).permute(2, 0, 1)
        there = NOTHING if self.objects is None else self.objects[index]
        boxes = torch.from_numpy(there.boxes * np.tile(self.scales[index], 2))
        labels = np.where(there.crowd, -2 - there.labels, there.labels)
        return image, boxes, torch.from_numpy(labels)


def _padded(samples: Sequence[Sample]) -> dict[str, Tensor]:
    most = max(1, *(len(boxes) for _, boxes, _ in samples))
    boxes = torch.zeros(len(samples), most, 4)
    labels = torch.full((len(samples), most), -1)
    for row, (_, its_boxes, its_labels) in enumerate(samples):
        boxes[row, : len(its_boxes)] = its_boxes
        labels[row, : len(its_labels)] = its_labels
    crowd = labels < -1
    return {"boxes": boxes, "labels": torch.where(crowd, -2 - labels, labels), "crowd": crowd}
