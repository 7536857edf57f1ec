"""Images of one size, decoded once and kept as bytes."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.batches import Examples, loader, workers_for
from lantu.data.cleaning import under_several_labels
from lantu.data.file_table import find_files
from lantu.data.image.augment import Augment, Draws
from lantu.data.image.contact_sheet import contact_sheet
from lantu.data.image.decoded_on_demand import DecodedOnDemand, headers, sample
from lantu.data.image.decoding import Pixels, content_key, decoded, read_all, unreadable_names
from lantu.data.image.image_folder import image_files, image_folder
from lantu.data.image.image_table import file_column
from lantu.data.image.picture_examples import PictureExamples
from lantu.data.image.read_picture import Rendering
from lantu.data.image.survey import surveyed
from lantu.data.read_table import READERS, read_table
from lantu.data.source_files import files_of
from lantu.data.sources import Raw, sklearn
from lantu.data.supervised import SupervisedDataModule, linear_model
from lantu.errors import UserError
from lantu.notices import warn_once

MANY = 224 * 224 * 3
"""Values of an example for which workers pay."""


class ImageDataModule(SupervisedDataModule):
    """Images with a target, standardised per channel.

    Batches are x float32 (N, channels, height, width) and the target. Decoded pixels lie memory-mapped in `cache`.

    Args:
        path: a folder of your own with one folder per class, instead of a source.
        image: the column with the pictures.
        size: height and width in pixels that pictures are brought to; None: their own where they agree, otherwise
            their median, at most 224.
        background: grey level beneath transparent pixels, 0 to 255; None: white, or black where pictures would vanish.
        levels: which levels are black and white in pictures of more than eight bits; None: 0 and 65,535, or of
            floating-point pictures what they reach.
        max_unreadable: share of the pictures that may be left out because they cannot be read.
        augment: changes training pictures at random.
        decode: once: pixels are kept in `cache`; each: pictures are decoded in the workers whenever a batch needs them,
            for sets whose pixels are too many to be kept.
        balanced: draw training pictures of every class equally often, with repetition.
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
        background: int | None = None,
        levels: tuple[float, float] | None = None,
        max_unreadable: float = 0.25,
        augment: Augment | None = None,
        balanced: bool = False,
        decode: str = "once",
        **options: Any,
    ) -> None:
        super().__init__(source=source or _own_folder(path), **options)
        if decode not in ("once", "each"):
            raise UserError(f"`data.decode={decode}`: pictures are decoded once, or each time that a batch needs them.")
        if size is not None and size < 1:
            raise UserError(f"`data.size={size}` must be at least 1 pixel.")
        if background is not None and not 0 <= background <= 255:
            raise UserError(f"`data.background={background}` is a grey level, 0 (black) to 255 (white).")
        if levels is not None and (len(levels) != 2 or not levels[0] < levels[1]):
            raise UserError(f"`data.levels={list(levels)}` must be the black and the white level, such as [0,4095].")
        if not 0 <= max_unreadable <= 1:
            raise UserError(f"`data.max_unreadable={max_unreadable}` is a share, 0 to 1.")
        self.image = image
        self.size = size
        self.background = background
        self.levels = (float(levels[0]), float(levels[1])) if levels is not None else None
        self.max_unreadable = max_unreadable
        self.augment = augment or None  # an empty node is none
        self.balanced = balanced
        self.decode_each = decode == "each"

    def read(self) -> None:
        super().read()
        train = self.splits["train"]
        assert isinstance(train, PictureExamples)
        train.augment = self.augment
        train.classes = self.spec["classes"] if self.spec["task"] == "classification" else None

    def files_read(self) -> list[Path] | None:
        """As of a folder; a table's cells may name pictures."""
        return files_of(self.source) if getattr(self.source, "func", None) in (image_folder, sklearn) else None

    def augmented_sample(self, count: int = 32) -> Image.Image | None:
        """A contact sheet of training pictures, each beside itself as the first epoch has it; None: none is changed."""
        train = self.splits["train"]
        assert isinstance(train, PictureExamples)
        if train.augment is None:
            return None
        examples = np.linspace(0, len(train) - 1, min(count, len(train))).astype(int)
        draws = Draws(int(os.environ.get("PL_GLOBAL_SEED", "0")), 0, examples, np.zeros_like(examples))
        return contact_sheet(np.asarray(train.x[train.rows[examples]]), train.changed(draws).numpy())

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        if self.image not in rows:
            raise UserError(f"`data.image={self.image}`: {raw.name} has the columns {', '.join(rows.columns)}.")
        for count, what in raw.passed_over:
            self.report.note(count, what)
        cells = rows[self.image]
        content = content_key(cells)
        if "shape" not in self.learned:
            found = surveyed(
                cells, size=self.size, background=self.background, levels=self.levels, cache=self.cache, content=content
            )
            self._shape, self._rendering = found.shape, found.rendering
            for count, what in found.findings:
                self.report.note(count, what)
        self._pixels: Pixels
        if self.decode_each:
            self.report.say("pictures are decoded as batches need them; copies of pictures are not looked for")
            unreadable, hashes = headers(cells, cache=self.cache, content=content)
            pictures = DecodedOnDemand(cells.tolist(), shape=self._shape, rendering=self._rendering)
            self._pixels = Pixels(pictures, hashes, unreadable, plain=0)
        else:
            self._pixels = decoded(
                cells, shape=self._shape, rendering=self._rendering, cache=self.cache, content=content
            )
        self._report_losses(cells)
        if not self.decode_each and self.target in rows:
            self._report_conflicts(rows[self.target])
        rows[self.image] = np.arange(len(rows))  # from here on a picture is its place among the pixels
        return self._pixels.readable

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        target = pd.util.hash_array(rows[self.target].astype(str).to_numpy(dtype=object))
        return self._pixels.hashes[rows[self.image].to_numpy()] ^ target

    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        pixels = self._pixels.array
        chosen = rows[self.image].to_numpy()
        mean, std = channel_statistics(pixels, sample(chosen) if self.decode_each else chosen)
        return {"shape": list(pixels.shape[1:]), "rendering": self._rendering.state(), "mean": mean, "std": std}

    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        return PictureExamples(self._pixels.array, y, rows=rows[self.image].to_numpy(), finish=self._finisher())

    def facts(self) -> dict[str, Any]:
        height, width, channels = self.learned["shape"]
        return {
            "kind": "image",
            "channels": channels,
            "height": height,
            "width": width,
            "features": channels * height * width,
            "pixel_mean": list(self.learned["mean"]),
            "pixel_std": list(self.learned["std"]),
        }

    def schema(self) -> list[dict[str, str]]:
        height, width, channels = self.learned["shape"]
        return [{"name": f"{self.image} {channels}x{height}x{width}", "type": "binary"}]

    def input_signature(self) -> Any:
        from mlflow.types import Schema, TensorSpec

        return Schema([TensorSpec(np.dtype("uint8"), (-1, *self.learned["shape"]), name=None)])

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Pixels, each channel standardised."""
        x, y = self.splits[split].__getitems__(rows.tolist())  # type: ignore[attr-defined]
        return x.flatten(1).numpy(), y.numpy().reshape(-1)

    def classical_model(self, *, classifies: bool, shape: tuple[int, int]) -> tuple[str, Any]:
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        name, model = linear_model(classifies=classifies)
        components = PCA(min(100, *shape), random_state=0)
        description = f"{name} regression on 100 principal components of the pixels"
        return description, make_pipeline(StandardScaler(), components, model)

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """A row for each picture of a file, a folder or a table; one that cannot be read says why in `unreadable`."""
        if path.suffix.lower() in READERS:
            rows, _ = read_table(path)
            cells = find_files(rows[file_column(rows, None)], path.parent).reset_index(drop=True)
        else:
            cells = pd.Series([str(file) for file in ([path] if path.is_file() else image_files(path))], dtype=object)
            rows = pd.DataFrame({"image": cells})
        if not len(cells):
            raise UserError(f"`input={path}`: there are no pictures.")
        pixels, reasons = read_all(cells, self._shape, self._rendering)
        if reasons:
            if len(reasons) == len(cells):
                raise UserError(f"`input={path}`: no picture can be read: {unreadable_names(cells, reasons)[0]}.")
            readable = ~rows.index.isin(reasons)
            rows["unreadable"] = pd.Series(reasons, dtype=object).reindex(rows.index)
            # the number of its example, by which its answer is found
            rows.index = pd.Index(np.where(readable, readable.cumsum() - 1, -1))
            names = ", ".join(unreadable_names(cells, reasons)[:5]) + (", ..." if len(reasons) > 5 else "")
            warn_once(f"{len(reasons)} of {len(cells)} pictures cannot be read and get no answer: {names}.")
        return loader(self.examples_of(pixels), batch_size=self.batch_size, workers=0), rows

    def examples_of(self, inputs: np.ndarray) -> Examples:
        if isinstance(inputs, pd.DataFrame):
            raise UserError("Pictures are sent as files, or as arrays (N, H, W, C), and no rows of a table.")
        return PictureExamples(inputs, finish=self._finisher())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        if "shape" in self.learned:
            height, width, channels = self.learned["shape"]
            self._shape = (height, width, channels)
            self._rendering = Rendering.restored(self.learned.get("rendering"))

    def _report_losses(self, cells: pd.Series) -> None:
        """Name the pictures that cannot be read, and refuse to go on where many cannot."""
        lost, names = self._pixels.unreadable, unreadable_names(cells, self._pixels.unreadable)
        self.report.note(len(lost), "pictures that could not be read left out", names=names)
        if len(lost) > self.max_unreadable * len(cells):
            raise UserError(
                f"{len(lost):,} of {len(cells):,} pictures cannot be read: {', '.join(names[:3])}"
                f"{', ...' if len(lost) > 3 else ''}. Mend or remove them, or type `data.max_unreadable=1` to go on "
                "without them."
            )
        plain, readable = self._pixels.plain, len(cells) - len(lost)
        self.report.note(plain, "pictures show one colour alone")
        if plain > readable / 2:
            warn_once(
                f"{plain:,} of {readable:,} pictures show one colour alone, and tell a model nothing. Look at them; "
                "`data.background` and `data.levels` say how transparency and more than 8 bits are shown."
            )

    def _report_conflicts(self, labels: pd.Series) -> None:
        """Warn of pictures that occur under several classes: no model can be right about all of them."""
        readable = self._pixels.readable
        if count := under_several_labels(self._pixels.hashes[readable], labels[readable]):
            several = "pictures occur" if count > 1 else "picture occurs"
            self.report.warn(f"{count:,} {several} under more than one class, pixel for pixel; look at their labels")

    def _finisher(self) -> "Standardise":
        return Standardise(self.learned["mean"], self.learned["std"])

    def _order(self, split: str) -> dict[str, Any]:
        order = super()._order(split)
        if not self.balanced:
            blocks = self._pixels.array.blocks if self.decode_each else None
            rows = self.splits[split].rows  # type: ignore[attr-defined]
            return order if blocks is None else {**order, "blocks": blocks[rows]}
        if self.spec["task"] != "classification":
            raise UserError("`data.balanced=true` draws classes equally often, and this target is no class.")
        y = self.splits[split].y  # type: ignore[attr-defined]
        return {**order, "weights": (1 / torch.bincount(y).clamp(min=1).double())[y].numpy()}

    def _workers(self) -> int:
        if self.workers is None and self.decode_each:
            return workers_for(MANY)
        return workers_for(self.spec["features"]) if self.workers is None else self.workers


class Standardise:
    """From bytes (N, H, W, C) to float32 (N, C, H, W), standardised per channel by the training split."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)

    def __call__(self, x: Tensor) -> Tensor:
        # bytes change places faster than numbers of four bytes
        return x.permute(0, 3, 1, 2).contiguous().float().sub_(self.mean).div_(self.std)


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
