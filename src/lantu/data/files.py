"""Find a person's files in a folder, and pass over what systems and editors put beside them."""

import os
from collections import Counter
from pathlib import Path

from lantu.errors import UserError

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
    """Every file under a folder, sorted, without hidden and system ones; linked folders are entered once.

    A link that leads nowhere is a file, of which its reader says that it is not there. Pipes and sockets are none: who
    reads one waits for ever.

    Raises:
        UserError: a folder may not be read, so that its files would be missing without a word, or a name is no UTF-8.
    """
    found: list[Path] = []
    entered: set[str] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        here = waiting.pop(0)
        place = os.path.realpath(here)
        if place in entered or not os.path.isdir(here):
            continue
        entered.add(place)
        try:
            with os.scandir(here) as listed:
                entries = sorted((each for each in listed if is_visible(each.name)), key=lambda each: each.name)
        except OSError as error:
            raise UserError(f"the folder {here} cannot be read: {error.strerror}.") from error
        for each in entries:
            if not _is_utf8(each.name):
                raise UserError(
                    f"{here} holds a name that is no UTF-8, {os.fsencode(each.name)!r}: rename it, such as by "
                    "`convmv -f latin1 -t utf8 --notest FOLDER`."
                )
            if os.path.isdir(each.path):  # `each.is_dir` raises of a link to itself
                waiting.append(each.path)
            elif os.path.isfile(each.path) or (each.is_symlink() and not os.path.exists(each.path)):
                found.append(Path(each.path))
    return sorted(found)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_visible(name: str) -> bool:
    """Whether a file or folder is a person's own."""
    return not name.startswith(".") and name.lower() not in SYSTEM


def with_endings(files: list[Path], endings: tuple[str, ...]) -> tuple[list[Path], dict[str, int]]:
    """The files with one of some endings, whatever their case, and how many of each other ending there are."""
    fits = [file.name.lower().endswith(endings) for file in files]
    wanted = [file for file, fit in zip(files, fits, strict=True) if fit]
    others = Counter(file.suffix.lower() or file.name for file, fit in zip(files, fits, strict=True) if not fit)
    return wanted, dict(others.most_common())
