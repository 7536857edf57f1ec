"""Find a person's pictures: a folder for each class, with or without folders for the parts above them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.data.files import IMAGE_ENDINGS, visible_files, with_endings
from lantu.data.labels import alike
from lantu.data.source_files import reads
from lantu.data.sources import PARTS, Raw
from lantu.errors import UserError

SIDECARS = {".txt", ".md", ".csv", ".json", ".xml", ".yaml", ".yml", ".html", ".pdf", ".license"}
"""Endings of texts about pictures; they are passed over silently."""


@reads(lambda path: visible_files(Path(path).expanduser()))
def image_folder(path: str) -> Raw:
    """Pictures in a folder per class, with or without folders train, validation and test above them.

    Hidden and system files are passed over. Other files, and pictures outside the class folders, are counted.

    Raises:
        UserError: no such folder, no pictures in class folders, or one class alone.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"`data.path={path}`: there is no such folder.")
    files, others = with_endings(visible_files(folder), IMAGE_ENDINGS)
    notes = [
        (count, f"files ending in {ending} are no pictures that can be read, and are passed over")
        for ending, count in others.items()
        if ending not in SIDECARS
    ]
    parts = [file.relative_to(folder).parts for file in files]
    divided = _is_divided(parts)
    depth = 1 if divided else 0
    placed = [len(part) >= depth + 2 and (not divided or part[0].lower() in PARTS) for part in parts]
    if not any(placed):
        raise UserError(_no_classes(path, bool(parts)))
    notes.append((placed.count(False), "pictures outside the class folders are left out"))
    files = [file for file, keep in zip(files, placed, strict=True) if keep]
    parts = [part for part, keep in zip(parts, placed, strict=True) if keep]
    classes = sorted({part[depth] for part in parts})
    if len(classes) == 1:
        raise UserError(_one_class(path, classes[0], {part[depth + 1] for part in parts if len(part) > depth + 2}))
    alike_names = alike(classes)
    notes.append((len(alike_names), f"classes differ in case or spaces alone: {', '.join(map(repr, alike_names))}"))
    return Raw(
        name=folder.resolve().name,
        rows=pd.DataFrame({"image": [str(file) for file in files], "label": [part[depth] for part in parts]}),
        split=np.array([PARTS[part[0].lower()] for part in parts]) if divided else np.repeat("train", len(files)),
        source={"uri": str(folder.resolve())},
        passed_over=tuple(note for note in notes if note[0]),
    )


def image_files(folder: Path) -> list[Path]:
    """Every picture under a folder, in order of path, without hidden and system files."""
    return with_endings(visible_files(folder), IMAGE_ENDINGS)[0]


def _is_divided(parts: list[tuple[str, ...]]) -> bool:
    """Whether the first folders are the parts of the data: all of them, or a training part beside another one."""
    tops = Counter(part[0].lower() for part in parts if len(part) > 1)
    inside = all(len(part) > 2 for part in parts if len(part) > 1 and part[0].lower() in PARTS)
    known = {PARTS[top] for top in tops if top in PARTS}
    return inside and "train" in known and (len(known) > 1 or len(tops) == 1)


def _no_classes(path: str, pictures: bool) -> str:
    has = "the pictures must lie" if pictures else f"there are no pictures ({', '.join(IMAGE_ENDINGS)}). They must lie"
    return (
        f"`data.path={path}`: {has} in one folder per class, such as cats/1.jpg and dogs/2.jpg, with or without "
        "folders train, validation and test above those. Where a table names their classes, type `data=image_table`."
    )


def _one_class(path: str, name: str, below: set[str]) -> str:
    folder = f"{path.rstrip('/')}/{name}"
    if len(below) > 1:
        return (
            f"`data.path={path}`: all pictures lie in one folder, {name}, which would be the only class. If "
            f"the classes are the folders in it ({', '.join(sorted(below)[:5])}), type `data.path={folder}`."
        )
    return (
        f"`data.path={path}`: all pictures are of one class, {name}. Give a folder with a folder for each class, such "
        "as cats/1.jpg and dogs/2.jpg."
    )
