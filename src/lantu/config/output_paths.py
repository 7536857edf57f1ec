"""Check that what a command is going to write can be written, before anything is worked out for it."""

import os
import tempfile
from pathlib import Path

from lantu.errors import UserError


def check_writable(folder: str) -> None:
    """Refuse a folder that is to be made, or filled, where nothing can be written.

    Raises:
        UserError: which folder, why, and how to name another.
    """
    if not isinstance(folder, str) or not folder:
        raise UserError("`paths.store` and `paths.run` each name a folder; `paths.root=DIR` says where both are.")
    path = Path(folder).expanduser().absolute()
    there = _nearest(path)
    if (why := _why_not_writable(path, there)) is not None:
        raise UserError(
            f"runs would be kept in {str(path)[:200]}, but {there} cannot be written: {why}. `paths.root=DIR` keeps "
            "them in another folder, and so does the environment variable LANTU_HOME for all commands."
        )


def check_file_to_write(option: str, asked: str, *, ending: str | None = None, makes_folder: bool = False) -> None:
    """Refuse a file that cannot be written, before anything is worked out for it.

    Args:
        option: by which the file is named.
        asked: what was typed; a device or pipe such as /dev/stdout takes every format.
        ending: that the file must have; None: any.
        makes_folder: whether its folder is made where it is missing.

    Raises:
        UserError: it is a folder, its ending names no format, or nothing can be written there.
    """
    path = Path(asked).expanduser().absolute()
    if os.path.isdir(path):
        example = f"{asked.rstrip('/')}/{option}{ending or ''}"
        raise UserError(f"`{option}={asked}` is a folder. Name a file in it: `{option}={example}`.")
    if path.is_relative_to("/dev") or (os.path.exists(path) and not os.path.isfile(path)):
        return
    if ending and path.suffix != ending:
        raise UserError(f"`{option}={asked}`: what is written is {ending}; name it so: `{option}={path.stem}{ending}`.")
    if not makes_folder and not path.parent.is_dir():
        raise UserError(f"`{option}={asked}`: there is no folder {Path(asked).expanduser().parent}.")
    there = _nearest(path.parent)
    why = _why_not_writable(path, there) if there.is_dir() else "it is a file, not a folder"
    if why is not None:
        raise UserError(
            f"`{option}={asked[:200]}` cannot be written: {there}: {why}. Name a file in a folder of yours."
        )


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if os.path.exists(each))  # Path.exists raises without rights


def _why_not_writable(path: Path, there: Path) -> str | None:
    """Why a folder cannot be made in, or filled below, the nearest one that exists; None where it can."""
    if not there.is_dir():
        return None  # a file, which is refused by name
    if not os.access(there, os.W_OK | os.X_OK):
        read_only = os.statvfs(there).f_flag & os.ST_RDONLY
        return "its file system is read-only" if read_only else "you may not write there"
    try:
        Path(tempfile.mkdtemp(prefix=".lantu-", dir=there)).rmdir()  # /proc says yes, and means no
        os.stat(path)
    except FileNotFoundError as error:
        return error.strerror if error.filename != os.fspath(path) else None
    except OSError as error:
        return error.strerror
    return None
