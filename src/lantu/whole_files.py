"""Write a file whole or not at all: a full disk leaves what was there before, and no empty file."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lantu.errors import is_full_disk


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a place to write to, which becomes `path` when the block ends without an error.

    The place has the same ending, since some writers go by it. A device or pipe, such as /dev/stdout, is written to
    directly.
    """
    if path.exists() and not path.is_file():
        try:
            yield path
        except BaseException as error:
            _name_of_full_disk(error, path)
            raise
        return
    target = path.resolve() if path.is_symlink() else path
    draft = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield draft
        os.replace(draft, target)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        _name_of_full_disk(error, path)
        if isinstance(error, OSError) and error.filename in (draft, str(draft)):
            error.filename = str(path)  # as it was asked for
        raise


def _name_of_full_disk(error: BaseException, path: Path) -> None:
    """Where a disk is full, raise an error that names what was to be written; those of writers name nothing or a draft.

    Raises:
        OSError: the disk is full.
    """
    if is_full_disk(error):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with whole_file(path) as place:
        place.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder with its parents; after an error in the block those that were made and are empty are removed."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except BaseException:
        for each in missing:
            with suppress(OSError):
                each.rmdir()
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a place to write files to, all of which stand in `folder` when the block ends, or none after an error.

    Files of the same names are replaced; others in the folder stay.
    """
    with new_folder(folder.parent):
        draft = folder.with_name(f".{os.getpid()}.{folder.name}")
        try:
            draft.mkdir()
            yield draft
            folder.mkdir(exist_ok=True)
            for each in draft.iterdir():
                os.replace(each, folder / each.name)
        except BaseException as error:
            _name_of_full_disk(error, folder)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
