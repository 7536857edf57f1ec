"""Cache arrays in a file that later runs and worker processes map into memory.

The file is a safetensors file. Its metadata hold the format's version, facts about the arrays and a checksum of the
content, which is verified when a process first opens the file. A damaged file is written again. Arrays start at byte
4096.
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
import xxhash

from lantu.errors import UserError

VERSION = "2"
HEADER = 4096
"""Bytes before the arrays: a page, so that they are aligned in memory."""
UNUSED_DAYS = 30
"""Files that were not opened for so long are removed when another is written."""
TYPES: dict[str, Any] = {"U8": np.dtype("u1"), "U16": np.dtype("<u2"), "U32": np.dtype("<u4"), "U64": np.dtype("<u8")}
"""The names of data types in safetensors."""

Arrays = dict[str, tuple[str, Iterator[np.ndarray]]]
"""Type and blocks of each array; blocks are joined along their first dimension."""
T = TypeVar("T")

_verified: set[tuple[str, int, int, int]] = set()


class Mapped(np.memmap):
    """A memory-mapped array. It is pickled as the file's name and the offset, not the content."""

    whole = False
    """Whether this is the whole array that `_mapped` opened; slices are pickled by value."""

    def __reduce__(self) -> Any:
        if not self.whole:
            return np.asarray(self).__reduce__()
        return _mapped, (str(self.filename), self.dtype.str, self.offset, self.shape)


class Damaged(Exception):
    """A file is truncated or changed, or has another format."""


def cached(path: Path, make: Callable[[], tuple[Arrays, Callable[[], dict[str, Any]]]]) -> "CacheFile":
    """Open the file at `path`, and write it first unless it is valid. Of several processes one writes.

    Args:
        path: of the file; its name identifies the content, so that other content has another name.
        make: yields the arrays in blocks, and afterwards facts about them as values for JSON.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        return _mark_used(path, CacheFile(path))
    except (OSError, Damaged):
        pass
    with _locked(path):
        _clear(path.parent)
        try:
            return CacheFile(path)  # another process wrote it meanwhile
        except (OSError, Damaged):
            with written(path) as file:
                _write(file, *make())
        return CacheFile(path)


def cached_plain(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read plain values from a JSON file, and write it first unless it is valid."""

    def read() -> dict[str, Any] | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            whole = isinstance(found, dict) and found["checksum"] == _checksum(found["content"])
            return found["content"] if whole else None
        except (OSError, ValueError, KeyError):
            return None

    if (found := read()) is not None:
        return _mark_used(path, found)
    with _locked(path):
        if (found := read()) is None:
            found = make()
            with written(path) as file:
                file.write(json.dumps({"checksum": _checksum(found), "content": found}).encode())
        return found


class CacheFile:
    """A file of arrays, opened and verified.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is truncated or changed, or has another version or format.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            begin = file.read(HEADER)
            try:
                header = json.loads(begin[8:].decode())
                about = header.pop("__metadata__")
                if (about["format"], about["version"]) != ("lantu cache", VERSION):
                    raise Damaged(path)
                self.facts: dict[str, Any] = json.loads(about["facts"])
                """The facts about the arrays that were written with them."""
                places = {
                    name: (TYPES[each["dtype"]], each["shape"], *each["data_offsets"]) for name, each in header.items()
                }
                sound = about["checksum"] == _verify(file, begin, header, about["facts"], known=about["checksum"])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Damaged(path) from error
        if not sound:
            raise Damaged(path)
        self.arrays: dict[str, np.ndarray] = {
            name: _mapped(str(path), kind.str, HEADER + first, tuple(shape))
            for name, (kind, shape, first, _) in places.items()
        }


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """Write a file atomically: it is renamed to `path` once it is on disk."""
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
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock for writing the file on this machine, and remove leftovers of killed processes."""
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


def _mark_used(path: Path, found: T) -> T:
    """Renew the time of last use of a file, and return what was read from it."""
    with suppress(OSError):  # a read-only folder
        os.utime(path)
    return found


def _clear(folder: Path) -> None:
    """Remove files that have not been used for long. A run that has one open can still read it."""
    for file in (*folder.glob("*.safetensors"), *folder.glob("*.json"), *folder.glob("*.lock")):
        with suppress(OSError):  # another process has removed it
            if time.time() - file.stat().st_mtime > UNUSED_DAYS * 24 * 3600:
                file.unlink()


def _write(file: IO[bytes], arrays: Arrays, facts: Callable[[], dict[str, Any]]) -> None:
    header: dict[str, Any] = {}
    place = 0
    digest = xxhash.xxh3_128()
    file.seek(HEADER)
    for name, (kind, blocks) in arrays.items():
        begin, rows, rest = place, 0, []
        for block in blocks:
            content = np.ascontiguousarray(block, dtype=TYPES[kind])
            rows, rest = rows + len(content), list(content.shape[1:])
            digest.update(content.data.cast("B") if content.size else b"")
            place += file.write(content.data)
        header[name] = {"dtype": kind, "shape": [rows, *rest], "data_offsets": [begin, place]}
    header_text = json.dumps(facts())
    digest.update(_described(header, header_text))
    about = {"format": "lantu cache", "version": VERSION, "facts": header_text, "checksum": digest.hexdigest()}
    text = json.dumps({"__metadata__": about, **header}).encode()
    assert len(text) <= HEADER - 8
    file.seek(0)
    # the length of the header, then the header, filled up with spaces
    file.write((HEADER - 8).to_bytes(8, "little") + text.ljust(HEADER - 8))


def _verify(file: IO[bytes], begin: bytes, header: dict[str, Any], facts: str, *, known: str) -> str | None:
    """The checksum of an open file, or `known` where this process has verified the file; None: it does not match."""
    stat = os.fstat(file.fileno())
    end = max((each["data_offsets"][1] for each in header.values()), default=0)
    if stat.st_size != HEADER + end or begin[:8] != (HEADER - 8).to_bytes(8, "little"):
        return None
    same = (os.path.realpath(file.name), stat.st_ino, stat.st_mtime_ns, stat.st_size)
    if same in _verified:
        return known
    digest = xxhash.xxh3_128()
    file.seek(HEADER)
    while block := file.read(2**18):
        digest.update(block)
    digest.update(_described(header, facts))
    if digest.hexdigest() == known:
        _verified.add(same)
    return digest.hexdigest()


def _described(header: dict[str, Any], facts: str) -> bytes:
    return json.dumps([header, facts], sort_keys=True).encode()


def _checksum(content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())


def _mapped(path: str, kind: str, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    if not all(shape):
        return np.empty(shape, dtype=kind)  # an empty array cannot be mapped
    array = Mapped(path, dtype=kind, mode="r", offset=offset, shape=shape)
    array.whole = True
    return array


def _refused(folder: Path, error: OSError) -> str:
    return (
        f"the cache folder, {folder}, cannot be written ({error.strerror or error}). Name another one: "
        "`paths.cache=DIR`, or `data.cache=DIR` for a run that is measured again."
    )
