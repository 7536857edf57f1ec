"""Read pictures with boxes in the usual formats: COCO, YOLO, Pascal VOC, and the hub's folders, without conversion."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.image.annotations import AnnotatedPictures, files_ending, four_numbers
from lantu.data.image.coco_annotations import is_coco, read_coco
from lantu.data.image.voc_annotations import read_voc
from lantu.data.image.yolo_annotations import read_yolo
from lantu.data.sources import Raw, hub
from lantu.errors import UserError

FORMATS = ("xywh", "xyxy", "cxcywh")
"""What four numbers of a box mean: x, y is its upper left corner and w, h its size; cx, cy is its centre."""
LAYOUTS = ("coco", "yolo", "voc", "hub")
KEYS = {
    "boxes": ("bbox", "boxes", "bboxes"),
    "labels": ("categories", "category", "label", "labels", "class", "classes"),
}
"""What the hub's data sets call the parts of `objects`."""


@dataclass(frozen=True)
class Boxes(Raw):
    """Pictures with boxes as they were read. `rows` has `image`, `boxes` (M, 4), `labels` and `crowd`, each M long."""

    box_format: str = "xywh"
    relative: bool = False
    """Whether boxes are shares of the picture's width and height."""
    classes: list[str] | None = None
    """Names in the order of their numbers, where the source says them."""
    left_out: list[tuple[int, str, list[str]]] = field(default_factory=list)
    """How many of what were left out, and their names."""


def read_boxes(path: str, *, layout: str | None = None, box_format: str = "xywh") -> Boxes:
    """Read the pictures and boxes of a folder, or of one COCO file.

    Args:
        path: the folder; folders or files called train, validation (or val, valid) and test are its splits.
        layout: coco (JSON with images, annotations, categories), yolo (a .txt beside each picture, or in `labels`
            where pictures lie in `images`), voc (an .xml for each picture), hub (metadata.jsonl or Parquet); None:
            found.
        box_format: of the hub's layout, one of `FORMATS`.

    Raises:
        UserError: there is no such folder, it has nothing of that layout, or a file cannot be read.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"`data.path={path}`: there is no such folder.")
    if layout is not None and layout not in LAYOUTS:
        raise UserError(f"`data.layout={layout}`: the layouts are {', '.join(LAYOUTS)}, or null to find out.")
    layout = layout or _layout_of(place)
    if layout == "hub":
        return from_objects(hub(place.name, mirror=str(place.parent), mirror_folder=place.name), box_format=box_format)
    root = place.parent if place.is_file() else place
    pictures = AnnotatedPictures(root)
    read = {"coco": read_coco, "yolo": read_yolo, "voc": read_voc}[layout]
    found = read(place, pictures)
    if not found.rows:
        raise UserError(f"`data.path={path}`: there are no pictures with annotations of the layout {layout}.")
    files = [Path(row["image"]) for row in found.rows] + found.files
    changed = max(file.stat().st_mtime_ns for file in files if file.is_file())
    return Boxes(
        name=place.name,
        rows=pd.DataFrame(found.rows),
        split=np.array([row_part or "train" for row_part in found.parts]),
        source={"uri": str(place.resolve()), "layout": layout},
        key=f"{place.resolve()}-{len(found.rows)}-{changed}",
        box_format=found.box_format,
        relative=layout == "yolo",
        classes=found.classes,
        left_out=found.notes,
    )


def from_objects(raw: Raw, *, box_format: str = "xywh", objects: str = "objects") -> Boxes:
    """Read the hub's layout: a column `objects` with `bbox` and `categories` (or other names in `KEYS`), per picture.

    Raises:
        UserError: there is no such column, or it lacks boxes or categories.
    """
    if box_format not in FORMATS:
        raise UserError(f"`data.box_format={box_format}`: the formats are {', '.join(FORMATS)}.")
    if objects not in raw.rows:
        raise UserError(
            f"{raw.name} has no column `{objects}` with boxes; it has {', '.join(map(str, raw.rows.columns))}."
        )
    boxes, labels, crowd = [], [], []
    for cell in raw.rows[objects]:
        # one dictionary of lists, or a list of dictionaries
        each = cell if isinstance(cell, dict) else _joined(cell)
        found = {part: next((each[key] for key in keys if key in each), None) for part, keys in KEYS.items()}
        if len(each) and (found["boxes"] is None or found["labels"] is None):
            raise UserError(f"{raw.name}: `{objects}` has {', '.join(each)}; it needs `bbox` and `categories`.")
        boxes.append(four_numbers(found["boxes"]))
        labels.append(list(found["labels"]) if found["labels"] is not None else [])
        crowd.append([bool(value) for value in each["iscrowd"]] if "iscrowd" in each else [False] * len(labels[-1]))
    rows = raw.rows.drop(columns=objects).assign(boxes=boxes, labels=labels, crowd=crowd)
    names = raw.rows.attrs.get("class_names", {})
    classes = next((names[key] for key in (f"{objects}.{each}" for each in KEYS["labels"]) if key in names), None)
    shared = {
        name: getattr(raw, name)
        for name in ("name", "split", "source_type", "source", "bad_rows", "key", "passed_over")
    }
    return Boxes(rows=rows, **shared, box_format=box_format, classes=classes)


def _layout_of(place: Path) -> str:
    if place.is_file():
        return "coco"
    if files_ending(place, "metadata.jsonl", "metadata.csv", ".parquet"):
        return "hub"
    if any(is_coco(file) for file in files_ending(place, ".json")):
        return "coco"
    if files_ending(place, ".xml"):
        return "voc"
    if files_ending(place, ".txt"):
        return "yolo"
    raise UserError(
        f"`data.path={place}`: there are no boxes. A folder holds COCO's JSON, YOLO's .txt, Pascal VOC's .xml, or the "
        "hub's metadata.jsonl or Parquet, beside pictures."
    )


def _joined(cells: Iterable[Any] | None) -> dict[str, list[Any]]:
    listed: list[dict[str, Any]] = list(cells) if cells is not None else []
    return {key: [each[key] for each in listed] for key in (listed[0] if listed else {})}
