"""Images of one size, decoded once and kept as bytes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.batches import Examples, loader, workers_for
from lantu.data.image.decoding import Pixels, decode, decoded
from lantu.data.sources import Raw, image_files, image_folder
from lantu.data.supervised import SupervisedDataModule
from lantu.errors import UserError


class ImageDataModule(SupervisedDataModule):
    """Images with a target, standardised per channel.

    Batches are x float32 (N, channels, height, width) and the target. Decoded pixels lie memory-mapped in `cache`.

    Args:
        path: a folder of your own with one folder per class, instead of a source.
        image: the column with the pictures.
        size: height and width in pixels that pictures are brought to; None: their own where they agree, otherwise
            their median, at most 224.
        options: of `SupervisedDataModule`.
    """

    unit = "images"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        image: str = "image",
        size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source=source or _own_folder(path), **options)
        if size is not None and size < 1:
            raise UserError(f"`data.size={size}` must be at least 1 pixel.")
        self.image = image
        self.size = size

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        if self.image not in rows:
            raise UserError(f"`data.image={self.image}`: {raw.name} has the columns {', '.join(rows.columns)}.")
        shape = tuple(self.learned["shape"]) if "shape" in self.learned else None
        self._pixels: Pixels = decoded(rows[self.image], key=raw.key, size=self.size, shape=shape, cache=self.cache)
        rows[self.image] = np.arange(len(rows))  # from here on a picture is its place among the pixels
        self.report.note(
            len(self._pixels.unreadable), "pictures that could not be read left out", names=self._pixels.unreadable
        )
        return self._pixels.readable

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        target = pd.util.hash_array(rows[self.target].astype(str).to_numpy(dtype=object))
        return self._pixels.hashes[rows[self.image].to_numpy()] ^ target

    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        pixels = self._pixels.array
        chosen = rows[self.image].to_numpy()
        mean, std = channel_statistics(pixels, chosen)
        return {"shape": list(pixels.shape[1:]), "mean": mean, "std": std}

    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        return Examples(self._pixels.array, y, rows=rows[self.image].to_numpy(), finish=self._finisher())

    def facts(self) -> dict[str, Any]:
        height, width, channels = self.learned["shape"]
        return {
            "kind": "image",
            "channels": channels,
            "height": height,
            "width": width,
            "features": channels * height * width,
        }

    def schema(self) -> list[dict[str, str]]:
        height, width, channels = self.learned["shape"]
        return [{"name": f"{self.image} {channels}x{height}x{width}", "type": "binary"}]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        files = [path] if path.is_file() else image_files(path)
        if not files:
            raise UserError(f"`input={path}`: there are no pictures.")
        shape = tuple(self.learned["shape"])
        pixels = np.stack([_readable(decode(str(file), shape), file) for file in files])
        return loader(self.examples_of(pixels), batch_size=self.batch_size, workers=0), pd.DataFrame(
            {"image": map(str, files)}
        )

    def examples_of(self, inputs: np.ndarray) -> Examples:
        return Examples(inputs, finish=self._finisher())

    def _finisher(self) -> "Standardise":
        return Standardise(self.learned["mean"], self.learned["std"])

    def _workers(self) -> int:
        return workers_for(self.spec["features"]) if self.workers is None else self.workers


class Standardise:
    """From bytes (N, H, W, C) to float32 (N, C, H, W), standardised per channel by the training split."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2).float().contiguous().sub_(self.mean).div_(self.std)


def channel_statistics(pixels: np.ndarray, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel over some rows of (N, H, W, C) bytes, without a floating copy of all."""
    counts = np.zeros((pixels.shape[-1], 256))
    for start in range(0, len(rows), 4096):
        block = pixels[rows[start : start + 4096]]
        for channel in range(pixels.shape[-1]):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    levels = np.arange(256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    std = np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0))
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def _own_folder(path: str | None) -> Callable[[], Raw]:
    if path is None:
        raise UserError("`data.path` must name a folder of pictures: add `data.path=DIR` to the command.")
    return partial(image_folder, path)


def _readable(pixels: np.ndarray | None, file: Path) -> np.ndarray:
    if pixels is None:
        raise UserError(f"{file} cannot be read as a picture.")
    return pixels
