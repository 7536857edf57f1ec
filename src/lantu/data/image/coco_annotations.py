"""Read boxes in COCO's format: JSON files with images, annotations and categories."""

import json
from pathlib import Path
from typing import Any

from lantu.data.image.annotations import AnnotatedPictures, Annotations, part_of
from lantu.errors import UserError


def read_coco(place: Path, pictures: AnnotatedPictures) -> Annotations:
    """Read COCO's JSON files of a folder, or one file.

    Raises:
        UserError: a file is not COCO's JSON.
    """
    found = Annotations()
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*.json") if is_coco(file))
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
            part = part_of(file.relative_to(pictures.root)) or part_of(image.relative_to(pictures.root))
            found.add(
                image, part, [one["bbox"] for one in there],
                [names.get(one["category_id"], str(one["category_id"])) for one in there],
                [bool(one.get("iscrowd")) for one in there],
            )  # fmt: skip
    found.files = files
    found.note(missing, "pictures that are annotated and not there left out")
    return found


def is_coco(file: Path) -> bool:
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
