"""What the readers of annotation formats share: their result, and how they find pictures and splits."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lantu.data.files import visible_files, with_endings
from lantu.data.image.image_folder import image_files
from lantu.data.sources import PARTS


@dataclass
class Annotations:
    """What an annotation format's reader has read: pictures with their boxes, in the order of `rows`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    classes: list[str] | None = None
    notes: list[tuple[int, str, list[str]]] = field(default_factory=list)
    box_format: str = "xywh"

    def add(
        self, image: Path, part: str | None, boxes: Any, labels: list[Any], crowd: list[bool] | None = None
    ) -> None:
        crowd = crowd or [False] * len(labels)
        self.rows.append({"image": str(image), "boxes": four_numbers(boxes), "labels": labels, "crowd": crowd})
        self.parts.append(part)

    def note(self, names: list[str], what: str) -> None:
        if names:
            self.notes.append((len(names), what, names))


class AnnotatedPictures:
    """The pictures under a folder, looked up by path or, if it is unique, by file name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = image_files(root)
        self._by_name: dict[str, list[Path]] = {}
        for file in self.files:
            self._by_name.setdefault(file.name, []).append(file)

    def called(self, name: str, *, near: Path) -> Path | None:
        """Return the picture that an annotation file in the folder `near` calls `name`; None: not found."""
        for folder in (near, self.root):
            if os.path.isfile(folder / name):  # also of names that no file can have
                return folder / name
        there = self._by_name.get(Path(name).name, [])
        ends = [file for file in there if file.as_posix().endswith(f"/{name}")] or there
        return ends[0] if len(ends) == 1 else next((file for file in ends if near in file.parents), None)


def files_ending(place: Path, *endings: str) -> list[Path]:
    """Return the files with one of some endings under a folder, without hidden and system ones; or the file itself."""
    files = [place] if place.is_file() else with_endings(visible_files(place), endings)[0]
    return [file for file in files if file.is_file()]


def part_of(path: Path) -> str | None:
    """Return the split in a path's names: train/1.jpg, images/val/1.jpg, instances_train2017.json; None: none."""
    for name in path.parts:
        words = re.findall(r"[a-z]+", name.rpartition(".")[0].lower() if name == path.name else name.lower())
        part = next((PARTS[word] for word in words if word in PARTS), None)
        if part is not None and (name != path.name or path.suffix == ".json"):
            return part
    return None


def four_numbers(boxes: Any) -> np.ndarray:
    """Return boxes as float64 (M, 4); NaN for one without four numbers, so that `clean` counts it."""
    return np.array(list(_each_four(boxes)), dtype=np.float64).reshape(-1, 4)


def _each_four(boxes: Any) -> Iterator[list[float]]:
    for box in [] if boxes is None else boxes:
        try:
            numbers = [np.nan if each is None else float(each) for each in box]
        except (TypeError, ValueError, OverflowError):
            numbers = []
        yield numbers if len(numbers) == 4 else [np.nan] * 4
