"""Which files a source of rows reads."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def reads(files: Callable[..., list[Path] | None]) -> Callable[[Any], Any]:
    """Declare the files that a source reads, by a function of its arguments that returns None if they are not known."""

    def declare(source: Any) -> Any:
        source.files = files
        return source

    return declare


def files_of(source: Callable[[], Any]) -> list[Path] | None:
    """The files that a source with its arguments reads; None: not known."""
    if not isinstance(source, partial) or not hasattr(source.func, "files"):
        return None
    files: list[Path] | None = source.func.files(*source.args, **source.keywords)
    return files
