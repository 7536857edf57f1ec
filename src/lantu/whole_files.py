"""Write a file whole or not at all: a full disk leaves what was there before, and no empty file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a place to write to, which becomes `path` when the block ends without an error.

    The place has the same ending, since some writers go by it. A device or pipe, such as /dev/stdout, is written to
    directly.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve() if path.is_symlink() else path
    draft = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        yield draft
        os.replace(draft, target)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with whole_file(path) as place:
        place.write_text(text, encoding="utf-8")
