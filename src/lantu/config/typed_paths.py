"""Check that the files and folders that a command names are there, before anything heavy is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lantu.config.ranges import as_typed
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

FILES = ("task.language_model", "task.inception", "init.path")
"""Options that name a file where they are not null."""


def check_path(key: str, value: Any, *, default: Any, mirror: str | None) -> None:
    """Refuse a path that leads nowhere.

    Args:
        key: dotted name of an option; one that names no path of the user's own is passed over.
        default: of the option; that of `data.path` is ??? where the data are the user's own.
        mirror: the folder with copies of data sets; a path may be relative to it.

    Raises:
        UserError: there is no such file or folder.
    """
    if not (isinstance(value, str) and value) or not (key in FILES or (key == "data.path" and default == "???")):
        return
    path = Path(value).expanduser()
    places = [path, Path(mirror).expanduser() / value] if mirror and key == "data.path" else [path]
    if any(_exists(each) for each in places):
        return
    what = "file" if key in FILES else "file or folder"
    near = did_you_mean(path.name, _names_beside(path)) if path.name else ""
    raise UserError(f"`{key}={as_typed(value)}`: there is no such {what}.{near}")


def _exists(path: Path) -> bool:
    """Whether something is there; a place that may not be looked into is left to the one who reads it."""
    try:
        return path.exists()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError) and "name too long" not in str(error)
    except ValueError:
        return False


def _names_beside(path: Path) -> Mapping[str, None]:
    try:
        return {each.name: None for _, each in zip(range(1000), path.parent.iterdir(), strict=False)}
    except OSError:
        return {}
