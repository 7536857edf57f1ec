"""Read boxes in YOLO's format: a text file for each picture, a line for each box, in shares of width and height."""

from pathlib import Path

import numpy as np

from lantu.data.image.annotations import AnnotatedPictures, Annotations, part_of


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
                boxes.append(_center_and_size([float(each) for each in numbers]))
                labels.append(int(label))
            except ValueError:
                boxes = boxes[: len(labels)]
                bad.append(f"{file.name if file else ''}:{number}")
        found.add(image, part_of(image.relative_to(pictures.root)), boxes, labels)
    found.note(bad, "lines that are no box left out")
    found.note(alone, "pictures without a file of boxes taken to show nothing")
    return found


def _class_names(place: Path) -> list[str] | None:
    import yaml

    for file in sorted([*place.rglob("*.yaml"), *place.rglob("*.yml")]):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        names = content.get("names") if isinstance(content, dict) else None
        if names:
            return (
                [str(names[key]) for key in sorted(names)] if isinstance(names, dict) else [str(each) for each in names]
            )
    for name in ("classes.txt", "obj.names", "labels.txt"):
        for file in place.rglob(name):
            return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return None


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
