"""Token numbers in a file that every later run, and every worker process, maps into memory.

The file is one of safetensors, so that it describes itself and others can read it: a tensor (M,) of uint16 or uint32
for each part, and in its metadata the version of this format and facts about the parts. Tokens begin at byte 4096.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from lantu.errors import UserError

VERSION = "1"
HEADER = 4096
"""Bytes before the tokens: a page, so that they lie evenly in memory."""
UNUSED_DAYS = 30
"""Files that no run has opened for so long are removed when another is written."""
NAMES: dict[str, Any] = {"U16": np.dtype("<u2"), "U32": np.dtype("<u4")}
"""What safetensors calls the types of numbers."""

Parts = dict[str, Iterator[np.ndarray]]
T = TypeVar("T")


class Mapped(np.memmap):
    """Token numbers (M,) of a file. Another process is sent the file's name and the place in it, not the tokens."""

    whole = False
    """Whether this is all that `_mapped` opened; pieces of it are sent as what they hold."""

    def __reduce__(self) -> Any:
        if not self.whole:
            return np.asarray(self).__reduce__()
        return _mapped, (str(self.filename), self.dtype.str, self.offset, self.size)


class Damaged(Exception):
    """A file is not whole, or is none of these files."""


def kept(path: Path, make: Callable[[], tuple[Parts, Callable[[], dict[str, Any]]]], *, size: int) -> "TokenFile":
    """The file at `path`, written first unless it is there and whole. Of several processes that ask, one writes.

    Args:
        path: of a file; its name tells what is in it, so that other content has another name.
        make: gives the tokens of each part, a few at a time, and afterwards facts about them, as JSON can hold them.
        size: how many different tokens there are; up to 65,536 of them take two bytes each, more take four.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        return _used(path, TokenFile(path))
    except (OSError, Damaged):
        pass
    with _alone(path):
        _clear(path.parent)
        try:
            return TokenFile(path)  # another process was first
        except (OSError, Damaged):
            with written(path) as file:
                _write(file, *make(), kind="U16" if size <= 2**16 else "U32")
        return TokenFile(path)


def kept_plain(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Plain values in a JSON file, made first unless it is there and whole."""

    def read() -> dict[str, Any] | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else None
        except (OSError, ValueError):
            return None

    if (found := read()) is not None:
        return _used(path, found)
    with _alone(path):
        if (found := read()) is None:
            found = make()
            with written(path) as file:
                file.write(json.dumps(found).encode())
        return found


class TokenFile:
    """A file of tokens, opened.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is cut, of another version, or something else.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(HEADER)
        try:
            header = json.loads(begin[8:].decode())
            about = header.pop("__metadata__")
            if (about["format"], about["version"]) != ("lantu tokens", VERSION):
                raise Damaged(path)
            self.facts: dict[str, Any] = json.loads(about["facts"])
            """What was said about the parts when they were written."""
            places = {name: (NAMES[each["dtype"]], *each["data_offsets"]) for name, each in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(path) from error
        if size != HEADER + max((end for *_, end in places.values()), default=0):
            raise Damaged(path)
        self.parts: dict[str, np.ndarray] = {
            name: _mapped(str(path), kind.str, HEADER + first, (end - first) // kind.itemsize)
            for name, (kind, first, end) in places.items()
        }
        """Token numbers (M,) of each part."""


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file that is at `path` when it is whole and lies on the disk, and not before."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise UserError(_refused(path.parent, error)) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine is writing the file, and clear away what killed ones left."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise UserError(_refused(path.parent, error)) from error
    with lock:
        for left in path.parent.glob(f"{path.name}.*.part"):
            left.unlink(missing_ok=True)
        yield


def _used(path: Path, found: T) -> T:
    """What was found at a path, whose file stays for another while."""
    with suppress(OSError):  # a folder that may only be read
        os.utime(path)
    return found


def _clear(folder: Path) -> None:
    """Remove what has not been used for long. A run that still reads such a file keeps it, as it is open."""
    for file in (*folder.glob("*.safetensors"), *folder.glob("*.json")):
        with suppress(OSError):  # another process was first
            if time.time() - file.stat().st_mtime > UNUSED_DAYS * 24 * 3600:
                file.unlink()


def _write(file: IO[bytes], parts: Parts, facts: Callable[[], dict[str, Any]], *, kind: str) -> None:
    header: dict[str, Any] = {}
    place = 0
    file.seek(HEADER)
    for name, arrays in parts.items():
        begin = place
        for array in arrays:
            place += file.write(np.ascontiguousarray(array, dtype=NAMES[kind]).data)
        count = (place - begin) // NAMES[kind].itemsize
        header[name] = {"dtype": kind, "shape": [count], "data_offsets": [begin, place]}
    about = {"format": "lantu tokens", "version": VERSION, "facts": json.dumps(facts())}
    text = json.dumps({"__metadata__": about, **header}).encode()
    assert len(text) <= HEADER - 8
    file.seek(0)
    # the length of the header, then the header, filled up with spaces
    file.write((HEADER - 8).to_bytes(8, "little") + text.ljust(HEADER - 8))


def _mapped(path: str, kind: str, offset: int, count: int) -> np.ndarray:
    if not count:
        return np.empty(0, dtype=kind)  # nothing cannot be mapped
    array = Mapped(path, dtype=kind, mode="r", offset=offset, shape=(count,))
    array.whole = True
    return array


def _refused(folder: Path, error: OSError) -> str:
    return (
        f"the folder for tokens, {folder}, cannot be written ({error.strerror or error}). Name another one: "
        "`paths.cache=DIR`, or `data.cache=DIR` for a run that is measured again."
    )
