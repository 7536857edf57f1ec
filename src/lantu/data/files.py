"""Find a person's files in a folder, and pass over what systems and editors put beside them."""

import os
from collections import Counter
from pathlib import Path

SYSTEM = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db",
    "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__",
}  # fmt: skip
"""Files and folders of operating systems, storage devices and editors, in lower case; others begin with a dot."""
MEDICAL_ENDINGS = (".dcm", ".dicom", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".tga",
    ".pgm", ".ppm", ".pbm", ".pnm", *MEDICAL_ENDINGS,
)  # fmt: skip


def visible_files(folder: Path) -> list[Path]:
    """Every file under a folder, sorted, without hidden and system ones; linked folders are entered once."""
    found: list[Path] = []
    entered: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if is_visible(name))
        found.extend(Path(here, name) for name in files if is_visible(name))
    return sorted(found)


def is_visible(name: str) -> bool:
    """Whether a file or folder is a person's own."""
    return not name.startswith(".") and name.lower() not in SYSTEM


def with_endings(files: list[Path], endings: tuple[str, ...]) -> tuple[list[Path], dict[str, int]]:
    """The files with one of some endings, whatever their case, and how many of each other ending there are."""
    fits = [file.name.lower().endswith(endings) for file in files]
    wanted = [file for file, fit in zip(files, fits, strict=True) if fit]
    others = Counter(file.suffix.lower() or file.name for file, fit in zip(files, fits, strict=True) if not fit)
    return wanted, dict(others.most_common())
