"""Read pictures with boxes as people keep them: COCO, YOLO, Pascal VOC, and the hub's folders. Nothing is converted."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.image.image_folder import image_files
from lantu.data.sources import PARTS, Raw, hub
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
    """Pictures and boxes of a folder, or of one COCO file.

    Args:
        path: the folder; its parts are told by folders or files called train, validation (or val, valid) and test.
        layout: coco (JSON with images, annotations, categories), yolo (a .txt beside each picture, or in `labels`
            where pictures lie in `images`), voc (an .xml for each picture), hub (metadata.jsonl or Parquet); None:
            found.
        box_format: of the hub's layout, one of `FORMATS`.

    Raises:
        UserError: no such folder, nothing of that layout in it, or a file that cannot be read.
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
    pictures = _Pictures(root)
    read = {"coco": _coco, "yolo": _yolo, "voc": _voc}[layout]
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
    """The hub's layout: a column `objects` with `bbox` and `categories` (or other names in `KEYS`), per picture.

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
        boxes.append(_four(found["boxes"]))
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


@dataclass
class _Found:
    """What a reader has read."""

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
        self.rows.append({"image": str(image), "boxes": _four(boxes), "labels": labels, "crowd": crowd})
        self.parts.append(part)

    def note(self, names: list[str], what: str) -> None:
        if names:
            self.notes.append((len(names), what, names))


class _Pictures:
    """The pictures under a folder, found by their path or, where that is enough, by their name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = image_files(root)
        self._by_name: dict[str, list[Path]] = {}
        for file in self.files:
            self._by_name.setdefault(file.name, []).append(file)

    def called(self, name: str, *, near: Path) -> Path | None:
        """The picture that an annotation file in the folder `near` calls `name`."""
        for folder in (near, self.root):
            if (folder / name).is_file():
                return folder / name
        there = self._by_name.get(Path(name).name, [])
        ends = [file for file in there if file.as_posix().endswith(f"/{name}")] or there
        return ends[0] if len(ends) == 1 else next((file for file in ends if near in file.parents), None)


def _layout_of(place: Path) -> str:
    if place.is_file():
        return "coco"
    if any(place.rglob("metadata.jsonl")) or any(place.rglob("metadata.csv")) or any(place.rglob("*.parquet")):
        return "hub"
    if any(_is_coco(file) for file in place.rglob("*.json")):
        return "coco"
    if any(place.rglob("*.xml")):
        return "voc"
    if any(place.rglob("*.txt")):
        return "yolo"
    raise UserError(
        f"`data.path={place}`: there are no boxes. A folder holds COCO's JSON, YOLO's .txt, Pascal VOC's .xml, or the "
        "hub's metadata.jsonl or Parquet, beside pictures."
    )


def _coco(place: Path, pictures: _Pictures) -> _Found:
    found = _Found()
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*.json") if _is_coco(file))
    missing: list[str] = []
    for file in files:
        content = _json(file)
        names = {each["id"]: str(each.get("name", each["id"])) for each in content.get("categories", [])}
        found.classes = list(dict.fromkeys([*(found.classes or []), *(names[number] for number in sorted(names))]))
        of_picture: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            of_picture.setdefault(annotation["image_id"], []).append(annotation)
        for each in content["images"]:
            image = pictures.called(str(each["file_name"]), near=file.parent)
            if image is None:
                missing.append(str(each["file_name"]))
                continue
            there = [one for one in of_picture.get(each["id"], []) if one.get("bbox") is not None]
            part = _part_of(file.relative_to(pictures.root)) or _part_of(image.relative_to(pictures.root))
            found.add(
                image, part, [one["bbox"] for one in there],
                [names.get(one["category_id"], str(one["category_id"])) for one in there],
                [bool(one.get("iscrowd")) for one in there],
            )  # fmt: skip
    found.files = files
    found.note(missing, "pictures that are annotated and not there left out")
    return found


def _yolo(place: Path, pictures: _Pictures) -> _Found:
    found = _Found(classes=_yolo_names(place), box_format="cxcywh")
    bad, alone = [], []
    for image in pictures.files:
        file = _yolo_file(image)
        if file is None:
            alone.append(image.name)
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file else []
        boxes, labels = [], []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                label, *numbers = line.split()
                boxes.append(_yolo_box([float(each) for each in numbers]))
                labels.append(int(label))
            except ValueError:
                boxes = boxes[: len(labels)]
                bad.append(f"{file.name if file else ''}:{number}")
        found.add(image, _part_of(image.relative_to(pictures.root)), boxes, labels)
    found.note(bad, "lines that are no box left out")
    found.note(alone, "pictures without a file of boxes taken to show nothing")
    return found


def _voc(place: Path, pictures: _Pictures) -> _Found:
    from xml.etree import ElementTree

    found = _Found(box_format="xyxy")
    lists = {
        line.split()[0]: PARTS[file.stem]
        for file in place.rglob("ImageSets/Main/*.txt")
        if file.stem in PARTS
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
    damaged, missing = [], []
    for file in sorted(place.rglob("*.xml")):
        try:
            root = ElementTree.parse(file).getroot()
            objects = [
                ([float(each.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")],
                 str(each.findtext("name")).strip())
                for each in root.iter("object")
            ]  # fmt: skip
        except (ElementTree.ParseError, ValueError):
            damaged.append(file.name)
            continue
        named = str(root.findtext("filename") or file.with_suffix(".jpg").name)
        image = pictures.called(named, near=file.parent) or next(
            (each for each in pictures.files if each.stem == file.stem), None
        )
        if image is None:
            missing.append(file.name)
            continue
        part = lists.get(file.stem) or _part_of(file.relative_to(pictures.root))
        found.add(image, part, [box for box, _ in objects], [name for _, name in objects])
        found.files.append(file)
    found.note(damaged, "annotation files that could not be read left out")
    found.note(missing, "pictures that are annotated and not there left out")
    return found


def _part_of(path: Path) -> str | None:
    """The part that a folder or a file is named after: train/1.jpg, images/val/1.jpg, instances_train2017.json."""
    for name in path.parts:
        words = re.findall(r"[a-z]+", name.rpartition(".")[0].lower() if name == path.name else name.lower())
        part = next((PARTS[word] for word in words if word in PARTS), None)
        if part is not None and (name != path.name or path.suffix == ".json"):
            return part
    return None


def _is_coco(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as text:
        head = text.read(4096)
    return '"images"' in head or '"annotations"' in head or '"categories"' in head


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not {"images", "annotations"} <= content.keys():
            raise ValueError("it has no `images` and `annotations`")
    except (ValueError, OSError, AttributeError) as error:
        raise UserError(f"{file} cannot be read as COCO's JSON: {str(error).splitlines()[0]}.") from error
    return content


def _yolo_names(place: Path) -> list[str] | None:
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


def _yolo_file(image: Path) -> Path | None:
    folders = list(image.parts[:-1])
    places = [image.with_suffix(".txt")]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        folders[last] = "labels"
        places.insert(0, Path(*folders) / f"{image.stem}.txt")
    return next((each for each in places if each.is_file()), None)


def _yolo_box(numbers: list[float]) -> list[float]:
    """Centre and size; of a polygon's corners, those of the box around it."""
    if len(numbers) == 4:
        return numbers
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("a line is a class with four numbers, or with the corners of a polygon")
    points = np.array(numbers).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return [*((low + high) / 2), *(high - low)]


def _joined(cells: Iterable[Any] | None) -> dict[str, list[Any]]:
    listed: list[dict[str, Any]] = list(cells) if cells is not None else []
    return {key: [each[key] for each in listed] for key in (listed[0] if listed else {})}


def _four(boxes: Any) -> np.ndarray:
    """Boxes as (M, 4); one without four numbers is not a number, and so counted later."""
    return np.array(list(_each_four(boxes)), dtype=np.float64).reshape(-1, 4)


def _each_four(boxes: Any) -> Iterator[list[float]]:
    for box in [] if boxes is None else boxes:
        numbers = [np.nan if each is None else float(each) for each in box]
        yield numbers if len(numbers) == 4 else [np.nan] * 4
