"""Read boxes in COCO's format: JSON files with images, annotations and categories."""

from collections import Counter
from pathlib import Path
from typing import Any

from lantu.data.image.annotations import AnnotatedPictures, Annotations, files_ending, part_of
from lantu.errors import UserError
from lantu.foreign_json import parse_json

KEYS = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id",)}
"""What each entry of a list must have."""


def read_coco(place: Path, pictures: AnnotatedPictures) -> Annotations:
    """Read COCO's JSON files of a folder, or one file.

    Raises:
        UserError: a file is not COCO's JSON.
    """
    found = Annotations()
    files = [place] if place.is_file() else [file for file in files_ending(place, ".json") if is_coco(file)]
    missing: list[str] = []
    strangers: list[str] = []
    for file in files:
        content = _json(file)
        names = {each["id"]: str(each.get("name", each["id"])) for each in content["categories"]}
        in_order = [names[number] for number in sorted(names, key=lambda each: (isinstance(each, str), each))]
        found.classes = list(dict.fromkeys([*(found.classes or []), *in_order])) or None
        of_picture: dict[Any, list[dict[str, Any]]] = {each["id"]: [] for each in content["images"]}
        for annotation in content["annotations"]:
            if annotation["image_id"] in of_picture:
                of_picture[annotation["image_id"]].append(annotation)
            else:
                strangers.append(f"{file.name}: image_id {annotation['image_id']}")
        for each in content["images"]:
            image = pictures.called(str(each["file_name"]), near=file.parent)
            if image is None:
                missing.append(str(each["file_name"]))
                continue
            there = [one for one in of_picture[each["id"]] if one.get("bbox") is not None]
            part = part_of(file.relative_to(pictures.root)) or part_of(_below(image, pictures.root))
            found.add(
                image, part, [one["bbox"] for one in there],
                [names.get(one["category_id"], str(one["category_id"])) for one in there],
                [bool(one.get("iscrowd")) for one in there],
            )  # fmt: skip
    found.files = files
    found.note(missing, "pictures that are annotated and not there left out")
    found.note(strangers, "annotations of an `image_id` that no picture has left out")
    return found


def is_coco(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as text:
        head = text.read(4096)
    return '"images"' in head or '"annotations"' in head or '"categories"' in head


def _below(image: Path, root: Path) -> Path:
    return image.relative_to(root) if image.is_relative_to(root) else image


def _json(file: Path) -> dict[str, Any]:
    """The content of a file, of which every entry has the keys that it needs.

    Raises:
        UserError: it is not COCO's JSON.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ValueError("it has no `images` and `annotations`")
        content.setdefault("categories", [])
        for part, keys in KEYS.items():
            _check_entries(part, content[part], keys)
        repeated = [name for name, count in Counter(each["id"] for each in content["images"]).items() if count > 1]
        if repeated:
            raise ValueError(f"several of `images` have the `id` {repeated[0]}")
    except (ValueError, OSError) as error:
        raise UserError(f"{file} cannot be read as COCO's JSON: {str(error).splitlines()[0]}.") from error
    return content


def _check_entries(part: str, entries: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(entries, list):
        raise ValueError(f"`{part}` is no list")
    for number, each in enumerate(entries):
        for key in keys:
            if not isinstance(each, dict) or not isinstance(each.get(key), str | int):
                raise ValueError(f"`{part}[{number}]` has no `{key}` that is a number or a text")
        if part == "annotations" and not isinstance(each.get("bbox", []), list | None):
            raise ValueError(f"`{part}[{number}].bbox` is no list of four numbers")
