"""Pictures with boxes around objects."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader

from lantu.data.batches import workers_for
from lantu.data.cleaning import repeated
from lantu.data.data_module import DataModule
from lantu.data.image.box_augmentation import BoxAugmentation
from lantu.data.image.box_pictures import BoxPictures
from lantu.data.image.box_sources import Boxes, from_objects, read_boxes
from lantu.data.image.boxes import NOTHING, Objects, called, class_names, clean
from lantu.data.image.image_data_module import Standardise, channel_statistics
from lantu.data.image.image_folder import image_files
from lantu.data.image.letterbox import Canvases, canvas_shape, read_headers
from lantu.data.image.sent_picture import image_cells, sent_picture
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, completed
from lantu.errors import UserError
from lantu.notices import warn_once

LIMIT = 4 * 2**30
"""Bytes of decoded pictures that are kept in the cache; larger sets are decoded each time."""
LOOKED_AT = 256
"""Training pictures of which mean and deviation are taken."""


class BoxDataModule(DataModule):
    """Pictures of any size with boxes, on a canvas of one size.

    Batches are x float32 (N, channels, H, W), standardised per channel, and a dictionary of tensors:
    `boxes` (N, M, 4) as x1, y1, x2, y2 in pixels of the canvas, `labels` (N, M) with -1 where there is no box, `crowd`
    (N, M) bool, `scale` (N, 2) from a picture's pixels to the canvas's in x and y, `size` (N, 2) the picture's width
    and height, `index` (N,) its number in the split. Inputs to predict for have neither boxes, labels nor crowd.

    Args:
        source: gives rows in the hub's layout (`lantu.data.hub`), or `Boxes`.
        path: a folder of your own, or a COCO file, instead of a source.
        layout: of the folder: coco, yolo, voc, hub; None: found (see `lantu.data.image.box_sources`).
        box_format: of the hub's layout: xywh (COCO's), xyxy or cxcywh.
        size: pixels of the longer side of a picture on the canvas.
        classes: names in the order of their numbers; None: the source's, or sorted.
        single_class: a name; every object is of this one class, whatever the source calls it.
        group: keeps pictures of one patient or video in one part: a column of the source, or a regular expression with
            one group that is looked for in file names, such as "^(patient\\d+)_".
        augment: of training pictures (`BoxAugmentation`); None: none.
        options: of `DataModule`.
    """

    unit = "pictures"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        layout: str | None = None,
        box_format: str = "xywh",
        size: int = 320,
        classes: list[str] | None = None,
        single_class: str | None = None,
        group: str | None = None,
        augment: BoxAugmentation | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if size < 32:
            raise UserError(f"`data.size={size}` must be at least 32 pixels.")
        if source is None and path is None:
            raise UserError(
                "`data.path` must name a folder of pictures with boxes: add `data.path=DIR` to the command."
            )
        if single_class is not None and classes is not None:
            raise UserError("`data.single_class` and `data.classes` both name the classes: give one of them.")
        self.source = source or partial(read_boxes, str(path), layout=layout, box_format=box_format)
        self.box_format = box_format
        self.size = size
        self.classes = classes
        self.single_class = single_class
        self.group = group
        self.augment = augment

    def read(self) -> None:
        raw = self.source()
        self._origin = raw if isinstance(raw, Boxes) else from_objects(raw, box_format=self.box_format)
        if self.single_class is not None:
            rows = self._origin.rows
            merged = [[self.single_class] * len(each) for each in rows["labels"]]
            self._origin = replace(self._origin, rows=rows.assign(labels=merged), classes=None)
        for count, what in self._origin.passed_over:
            self.report.note(count, what)
        for count, what, names in self._origin.left_out:
            self.report.note(count, what, names=names)
        cells = self._origin.rows["image"].tolist()
        headers = read_headers(cells)
        sized = headers.sizes.min(axis=1) > 0
        if not (sized & (self._origin.split == "train")).any():
            raise UserError(f"{self._origin.name}: none of the {len(cells)} pictures can be read and trained on.")
        shape = self.learned.get("shape") or list(
            canvas_shape(
                headers.sizes[sized & (self._origin.split == "train")], size=self.size, channels=headers.channels
            )
        )
        canvases = Canvases(cells, tuple(shape), key=self._origin.key, cache=self.cache, limit=LIMIT)
        lost = headers.unreadable | canvases.unreadable
        readable = ~np.isin(np.arange(len(cells)), list(lost))
        names = [f"{called(cells[number], number)} ({why})" for number, why in sorted(lost.items())]
        self.report.note(len(lost), "pictures that could not be read left out", names=names)
        classes = self.learned.get("classes") or class_names(self._origin, self.classes)
        numbered = self.classes is not None or self._origin.classes is not None
        objects = np.array([NOTHING] * len(cells), dtype=object)
        kept = self._of_rows(readable)
        objects[readable] = clean(kept, headers.sizes[readable], classes, self.report, numbered=numbered)
        keep = readable & ~self._duplicates(headers.hashes, readable)
        split = self._divided(objects, keep)
        if "shape" not in self.learned:
            train = np.flatnonzero(keep & (split == "train"))
            mean, std = self._statistics(canvases, train)
            self.learned = {"shape": list(shape), "mean": mean, "std": std, "classes": classes}
        self._publish(canvases, objects, headers.sizes, headers.hashes, np.where(keep, split, ""))

    def examples_of(self, inputs: Any) -> BoxPictures:
        """Pictures that a client sends: encoded (bytes, or base64 text) in a column `image` or a list, or as arrays."""
        cells = [sent_picture(each) for each in image_cells(inputs)]
        examples, unreadable = self._to_predict(cells)
        for number, why in unreadable.items():
            raise UserError(f"Picture {number} of the request cannot be read: {why}.")
        return examples

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        files = [path] if path.is_file() else image_files(path)
        if not files:
            raise UserError(f"`input={path}`: there are no pictures.")
        rows = pd.DataFrame({"image": map(str, files)})
        examples, unreadable = self._to_predict(rows["image"].tolist())
        if unreadable:
            first, why = next(iter(unreadable.items()))
            if len(unreadable) == len(files):
                raise UserError(f"`input={path}`: no picture can be read: {files[first].name} ({why}).")
            warn_once(
                f"{len(unreadable)} of {len(files)} pictures cannot be read and get no answer: {files[first].name}."
            )
            rows["unreadable"] = pd.Series(unreadable, dtype=object).reindex(rows.index)
            readable = rows["unreadable"].isna().to_numpy()
            # the number of its example, by which its answer is found
            rows.index = pd.Index(np.where(readable, readable.cumsum() - 1, -1))
        return self.loader(examples), rows

    def schema(self) -> list[dict[str, str]]:
        return [{"name": "image", "type": "binary"}]

    def origin(self) -> dict[str, Any]:
        source = json.dumps(self._origin.source)
        return {"name": self._origin.name, "source_type": self._origin.source_type, "source": source, "schema": None}

    def row_ids(self, split: str) -> list[Any] | None:
        """The names of the pictures' files."""
        part: Any = self.splits[split]
        return [called(part.canvases.cells[row], int(row)) for row in part.rows]

    def _publish(
        self, canvases: Canvases, objects: np.ndarray, sizes: np.ndarray, hashes: np.ndarray, split: np.ndarray
    ) -> None:
        """Fill splits, fingerprints, sizes and spec. `split` (N,) is empty for pictures that are left out."""
        names = self.learned["classes"]
        for part in SPLITS:
            rows = np.flatnonzero(split == part)
            if not len(rows):
                continue
            there: list[Objects] = objects[rows].tolist()
            self.splits[part] = self._pictures(canvases, rows, sizes[rows], there, training=part == "train")
            content = b"".join(
                [hashes[rows].tobytes(), *(each.boxes.tobytes() + each.labels.tobytes() for each in there)]
            )
            self.fingerprints[part] = blake2b(content, digest_size=16).hexdigest()
            self.report.sizes[part] = len(rows)
            self.report.note(
                sum(not len(each.boxes) for each in there),
                f"{part} pictures without a box kept, as pictures of nothing",
            )
        training: Any = self.splits.get("train")
        labels = np.concatenate([each.labels for each in training.objects]) if training else np.zeros(0, np.int64)
        height, width, channels = self.learned["shape"]
        everything = [each for part in self.splits.values() for each in part.objects]  # type: ignore[attr-defined]
        self.spec = {
            "kind": "image",
            "task": "detection",
            "channels": channels,
            "height": height,
            "width": width,
            "features": channels * height * width,
            "pixel_mean": list(self.learned["mean"]),
            "pixel_std": list(self.learned["std"]),
            "box_classes": len(names),
            "class_names": names,
            "box_counts": np.bincount(labels, minlength=len(names)).tolist(),
            "most_boxes": max((len(each.boxes) for each in everything), default=0),
        }
        count = sum(len(each.boxes) for each in everything)
        self.report.title = (
            f"{self._origin.name}: {len(everything):,} pictures on {width}x{height} pixels, {count:,} boxes, "
            f"{len(names)} classes"
        )

    def _of_rows(self, mask: np.ndarray) -> Boxes:
        return replace(
            self._origin, rows=self._origin.rows[mask].reset_index(drop=True), split=self._origin.split[mask]
        )

    def _duplicates(self, hashes: np.ndarray, readable: np.ndarray) -> np.ndarray:
        """Return which training pictures (N,) are the same file as another one, of any split."""
        twice = np.zeros(len(hashes), bool)
        twice[readable] = repeated(hashes[readable], self._origin.split[readable])
        self.report.note(int(twice.sum()), "training pictures that occur twice left out")
        return twice

    def _divided(self, objects: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Return the split of each picture (N,)."""
        split = self._origin.split.astype("<U5")
        if self.group is None:
            strata = np.array([len(each.boxes) > 0 for each in objects], int)
            split[keep] = completed(split[keep], self.shares, strata=strata[keep], seed=self.split_seed)
            return split
        groups = self._groups(self.group)
        numbers, of_row = np.unique(groups, return_inverse=True)
        parts = [set(split[keep & (of_row == number)]) for number in range(len(numbers))]
        apart = [str(numbers[number]) for number, each in enumerate(parts) if len(each) > 1]
        self.report.note(len(apart), f"groups by `{self.group}` lie in several parts of the source", names=apart)
        whole = np.array([next(iter(each)) if len(each) == 1 else "mixed" for each in parts])
        # groups that the source itself has divided stay as published, and are reported
        known = np.where(whole == "mixed", "other", whole)
        divided = completed(known, self.shares, strata=np.zeros(len(known), int), seed=self.split_seed)
        return np.where(divided[of_row] == "other", split, divided[of_row])

    def _groups(self, group: str) -> np.ndarray:
        """Return the group of each picture (N,), as text."""
        rows = self._origin.rows
        if group in rows:
            return rows[group].astype(str).to_numpy(dtype=str)
        names = [called(cell, number) for number, cell in enumerate(rows["image"])]
        try:
            found = [re.search(group, name) for name in names]
        except re.error as error:
            raise UserError(f"`data.group={group}` is no column, and no regular expression: {error}.") from error
        lost = [name for name, match in zip(names, found, strict=True) if not (match and match.groups())]
        if lost:
            columns = ", ".join(str(name) for name in rows if name not in ("image", "boxes", "labels", "crowd"))
            raise UserError(
                f"`data.group={group}` is no column (there are: {columns or 'none'}), and as a regular expression with "
                f"a group, such as `^(.+)_`, it does not match the file name {lost[0]}."
            )
        return np.array([match.group(1) for match in found if match])

    def _statistics(self, canvases: Canvases, rows: np.ndarray) -> tuple[list[float], list[float]]:
        if not len(rows):
            raise UserError(f"{self._origin.name}: there is no picture to train on.")
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int))]
        return channel_statistics(np.stack([canvases[row] for row in chosen]), np.arange(len(chosen)))

    def _pictures(
        self,
        canvases: Canvases,
        rows: np.ndarray,
        sizes: np.ndarray,
        objects: list[Objects] | None,
        *,
        training: bool = False,
    ) -> BoxPictures:
        finish = Standardise(self.learned["mean"], self.learned["std"])
        augment = self.augment if training else None
        return BoxPictures(canvases, rows, sizes, objects, finish=finish, augment=augment, progress=self._progress)

    def _progress(self, epoch: int) -> float:
        """Return the share of the training before an epoch; 0 where the number of epochs is not known."""
        epochs = (self.trainer.max_epochs or 0) if self.trainer else 0
        return epoch / epochs if epochs > 0 else 0.0

    def _to_predict(self, cells: list[Any]) -> tuple[BoxPictures, dict[int, str]]:
        """Return the pictures that can be read, and why the others cannot."""
        canvases = Canvases(cells, tuple(self.learned["shape"]))
        headers = read_headers(cells)
        unreadable = headers.unreadable | canvases.damaged(but=headers.unreadable)
        rows = np.array([number for number in range(len(cells)) if number not in unreadable], int)
        return self._pictures(canvases, rows, headers.sizes[rows], None), dict(sorted(unreadable.items()))

    def _workers(self) -> int:
        return workers_for(self.spec["features"]) if self.workers is None else self.workers
