"""Where config files are looked for: the user's own folders first, then what Lantu ships."""

import os
import tempfile
from pathlib import Path

from lantu.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent


def shipped_conf() -> Path:
    """Lantu's own config folder: inside an installed wheel, or at the top of a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent.parent / "conf"


def user_confs() -> list[Path]:
    """The user's config folders, first one first: `LANTU_CONF` (separated as PATH is), then `./conf`."""
    named = [Path(part) for part in os.environ.get("LANTU_CONF", "").split(os.pathsep) if part]
    folders = [folder.expanduser().resolve() for folder in [*named, Path("conf")]]
    return [folder for folder in folders if folder.is_dir() and folder != shipped_conf()]


def add_user_conf(folder: str) -> None:
    """Search a folder before all others, here and in the processes that this one starts."""
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise UserError(f"`--config-dir {folder}`: there is no such folder.")
    others = os.environ.get("LANTU_CONF", "")
    os.environ["LANTU_CONF"] = os.pathsep.join([str(path), *([others] if others else [])])


def check_writable(folder: str) -> None:
    """Refuse a folder that is to be made, or filled, where nothing can be written.

    Raises:
        UserError: which folder, why, and how to name another.
    """
    path = Path(folder).expanduser().absolute()
    # Path.exists raises where one may not look
    there = next(each for each in (path, *path.parents) if os.path.exists(each))
    if (why := _why_not_writable(path, there)) is not None:
        raise UserError(
            f"runs would be kept in {str(path)[:200]}, but {there} cannot be written: {why}. `paths.root=DIR` keeps "
            "them in another folder, and so does the environment variable LANTU_HOME for all commands."
        )


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
