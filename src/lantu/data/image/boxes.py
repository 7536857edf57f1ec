"""Convert the boxes of many pictures to one format; impossible ones are counted and left out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lantu.data.cleaning_report import Report
from lantu.data.image.box_sources import Boxes
from lantu.errors import UserError

SLACK = 1.0
"""Pixels that a box may reach beyond its picture without being noted: rounding."""


@dataclass(frozen=True)
class Objects:
    """The boxes of one picture."""

    boxes: np.ndarray
    """(M, 4) float32: x1, y1, x2, y2 in pixels of the original picture."""
    labels: np.ndarray
    """(M,) int64 class numbers."""
    crowd: np.ndarray
    """(M,) bool: a region with too many objects to tell apart; not learned from, and not counted against a model."""


NOTHING = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))


def class_names(raw: Boxes, given: list[str] | None) -> list[str]:
    """Return the class names in the order of their numbers: `given`, the source's own, or the sorted labels.

    Raises:
        UserError: there are neither names nor boxes, or a label is neither a name nor a number of a class.
    """
    there = {label for labels in raw.rows["labels"] for label in labels}
    wrong = next((each for each in there if not (isinstance(each, str) or (_is_number(each) and each >= 0))), None)
    if wrong is not None or None in there:
        raise UserError(f"{raw.name}: there is an object of the class {wrong}, which is neither a name nor a number.")
    if given is not None:
        return list(given)
    if raw.classes is not None:
        return raw.classes
    if not there:
        raise UserError(
            f"{raw.name}: no picture has a box, so there is nothing to learn. Look at the annotation files; "
            "`data.layout` says how they are read."
        )
    numbers = all(_is_number(label) for label in there)
    return [str(label) for label in sorted(there)] if numbers else sorted(map(str, there))


def clean(raw: Boxes, sizes: np.ndarray, names: list[str], report: Report, *, numbered: bool) -> list[Objects]:
    """Return the valid boxes of every picture; problems are counted in the report, with the pictures' names.

    Args:
        sizes: width and height (N, 2) of each picture.
        names: of the classes.
        numbered: labels that are numbers are places in `names`; otherwise they are compared as text.

    Raises:
        UserError: a label is none of the classes.
    """
    places = {name: number for number, name in enumerate(names)}
    found: dict[str, list[str]] = {}
    cleaned = []
    rows = zip(raw.rows["image"], raw.rows["boxes"], raw.rows["labels"], raw.rows["crowd"], sizes, strict=True)
    for number, (image, boxes, labels, crowd, size) in enumerate(rows):
        if len(boxes) != len(labels):
            raise UserError(f"{raw.name}: {called(image, number)} has {len(boxes)} boxes and {len(labels)} categories.")
        with np.errstate(over="ignore"):  # an infinite corner is counted as no number
            corners = as_corners(boxes, raw.box_format) * (np.tile(size, 2) if raw.relative else 1.0)
        chosen = np.array([_number_of(label, places, numbered=numbered, where=raw.name) for label in labels], np.int64)
        keep, problems, corners = _check(corners, chosen, size)
        for problem, count in problems.items():
            found.setdefault(problem, []).extend([called(image, number)] * count)
        cleaned.append(Objects(corners[keep].astype(np.float32), chosen[keep], np.array(crowd, bool)[keep]))
    for problem, pictures in found.items():
        report.note(len(pictures), problem, names=list(dict.fromkeys(pictures)))
    return cleaned


def _check(boxes: np.ndarray, labels: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """Return which boxes (M,) are valid, how many have which problem, and the boxes clipped to the picture."""
    finite = np.isfinite(boxes).all(axis=1)
    boxes = np.nan_to_num(boxes, posinf=0, neginf=0)
    sized = finite & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    cut = np.clip(boxes, 0, np.tile(size, 2))
    inside = sized & (cut[:, 2:] > cut[:, :2]).all(axis=1)
    reaches = inside & (np.abs(cut - boxes).max(axis=1, initial=0) > SLACK)
    keys = np.column_stack([labels, cut.round(2)])
    first = np.zeros(len(boxes), bool)
    first[np.unique(keys, axis=0, return_index=True)[1]] = True
    problems = {
        "boxes that are not four numbers left out": ~finite,
        "boxes of no or negative size left out": finite & ~sized,
        "boxes outside their picture left out": sized & ~inside,
        "boxes that reach out of their picture cut off at its edge": reaches,
        "boxes that occur twice in a picture left out": inside & ~first,
    }
    return inside & first, {name: int(mask.sum()) for name, mask in problems.items() if mask.any()}, cut


def as_corners(boxes: np.ndarray, box_format: str) -> np.ndarray:
    """Return boxes (M, 4), in one of `box_sources.FORMATS`, as x1, y1, x2, y2."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if box_format == "xywh":
        return np.hstack([first, first + second])
    return np.hstack([first - second / 2, first + second / 2]) if box_format == "cxcywh" else boxes


def called(image: Any, number: int) -> str:
    """Return the name of a picture in reports: its file name, or its number."""
    path = image.get("path") if isinstance(image, dict) else image
    return path.replace("\\", "/").rpartition("/")[2] if isinstance(path, str) else f"number {number}"


def _number_of(label: Any, places: dict[str, int], *, numbered: bool, where: str) -> int:
    if numbered and _is_number(label):
        if not 0 <= int(label) < len(places):
            raise UserError(
                f"{where}: there is an object of the class {label}, and `data.classes` names {len(places)}."
            )
        return int(label)
    name = str(label)
    if name not in places:
        raise UserError(f"{where}: there is an object called {name!r}, which `data.classes` does not name.")
    return places[name]


def _is_number(label: Any) -> bool:
    return isinstance(label, int | np.integer) and not isinstance(label, bool)
