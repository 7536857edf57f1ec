"""Read boxes in YOLO's format: a text file for each picture, a line for each box, in shares of width and height."""

from pathlib import Path
from typing import Any

import numpy as np

from lantu.data.image.annotations import AnnotatedPictures, Annotations, files_ending, part_of
from lantu.errors import UserError

MOST_CLASSES = 100_000
"""Of numbered class names: a number above it is a mistake."""


def read_yolo(place: Path, pictures: AnnotatedPictures) -> Annotations:
    """Read YOLO's text files of a folder."""
    found = Annotations(classes=_class_names(place), box_format="cxcywh")
    bad, alone = [], []
    for image in pictures.files:
        file = _annotation_file(image)
        if file is None:
            alone.append(image.name)
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file else []
        boxes, labels = [], []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                label, *numbers = line.split()
                if not 0 <= int(label) < MOST_CLASSES:
                    raise ValueError("no number of a class")
                boxes.append(_center_and_size([float(each) for each in numbers]))
                labels.append(int(label))
            except ValueError:
                bad.append(f"{file.name if file else ''}:{number}")
        found.add(image, part_of(image.relative_to(pictures.root)), boxes, labels)
    found.note(bad, "lines that are no box left out")
    found.note(alone, "pictures without a file of boxes taken to show nothing")
    return found


def _class_names(place: Path) -> list[str] | None:
    import yaml

    for file in files_ending(place, ".yaml", ".yml"):
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(
                f"{file} cannot be read as YAML: {str(error).splitlines()[0]}. Mend or remove it."
            ) from error
        names = content.get("names") if isinstance(content, dict) else None
        if names:
            return _in_order(names, file)
    files = {file.name: file for file in reversed(files_ending(place, ".txt", ".names"))}
    for file in (files[name] for name in ("classes.txt", "obj.names", "labels.txt") if name in files):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is no text in UTF-8, and so its class names cannot be read.") from error
        return [line.strip() for line in lines if line.strip()]
    return None


def _in_order(names: Any, file: Path) -> list[str]:
    """Class names by their numbers; one that has no name is called by its number.

    Raises:
        UserError: they are neither a list of names nor numbers with names.
    """
    named = dict(enumerate(names)) if isinstance(names, list) else names
    numbered = isinstance(named, dict) and all(type(key) is int and 0 <= key < MOST_CLASSES for key in named)
    if not numbered or not all(isinstance(each, str | int | float) for each in named.values()):
        raise UserError(f"{file}: `names` is a list of class names, or a number and a name for each class.")
    return [str(named.get(number, number)) for number in range(max(named) + 1)]


def _annotation_file(image: Path) -> Path | None:
    folders = list(image.parts[:-1])
    places = [image.with_suffix(".txt")]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        folders[last] = "labels"
        places.insert(0, Path(*folders) / f"{image.stem}.txt")
    return next((each for each in places if each.is_file()), None)


def _center_and_size(numbers: list[float]) -> list[float]:
    """Centre and size; of a polygon's corners, those of the box around it."""
    if len(numbers) == 4:
        return numbers
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("a line is a class with four numbers, or with the corners of a polygon")
    points = np.array(numbers).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return [*((low + high) / 2), *(high - low)]
