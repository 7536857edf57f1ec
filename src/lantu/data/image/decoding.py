"""Decode pictures once: to bytes of one size, in a file that every later run maps into memory."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data import cache_file
from lantu.data.image.parquet_cell import ParquetCell
from lantu.data.image.read_picture import (
    Rendering,
    Shape,
    Unreadable,
    name_of,
    read_picture,
    without_pillows_warnings,
)


@dataclass(frozen=True)
class Pixels:
    """Pictures as bytes."""

    array: Any
    """(N, height, width, channels) uint8: memory-mapped, with zeros where a picture could not be read; or on demand."""
    hashes: np.ndarray
    """(N,) uint64 of each picture's pixels."""
    unreadable: dict[int, str]
    """The pictures that could not be read, and why."""
    plain: int
    """How many pictures are of one colour."""

    @property
    def readable(self) -> np.ndarray:
        """(N,) bool."""
        readable = np.ones(len(self.array), dtype=bool)
        readable[list(self.unreadable)] = False
        return readable


def decoded(cells: pd.Series, *, shape: Shape, rendering: Rendering, cache: Path, content: str | None = None) -> Pixels:
    """All pictures of a column, from the cache if they were decoded before.

    Args:
        cells: arrays, paths, or the hub's {"bytes", "path"}.
        shape: height, width and channels to bring them to.
        rendering: how they become bytes.
        cache: folder for the decoded pixels.
        content: of `content_key`, where it is known.
    """
    content = content or content_key(cells)
    name = blake2b(f"{content}|{tuple(shape)}|{rendering.state()}".encode(), digest_size=12).hexdigest()
    _clear_older_format(cache / "images")
    path = cache / "images" / f"{name}.safetensors"
    file = cache_file.cached(path, partial(_decode, cells.tolist(), shape, rendering))
    said = json.loads(file.arrays["unreadable"].tobytes())
    unreadable = {int(number): reason for number, reason in said.items()}
    return Pixels(file.arrays["pixels"], file.arrays["hashes"], unreadable, file.facts["plain"])


def content_key(cells: pd.Series) -> str:
    """A digest of what a column of pictures holds: the bytes, or each file's path, size and time."""
    digest = blake2b(digest_size=16)
    for cell in cells:
        if isinstance(cell, dict) and cell.get("bytes") is not None:
            digest.update(blake2b(cell["bytes"], digest_size=16).digest())
        elif isinstance(cell, np.ndarray):
            digest.update(f"{cell.shape}{cell.dtype.str}".encode())
            digest.update(np.ascontiguousarray(cell).data)
        else:
            path = cell.get("path") if isinstance(cell, dict) else cell
            path = cell.path if isinstance(cell, ParquetCell) else path
            try:
                stat = os.stat(path)  # type: ignore[arg-type]
                digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
                if isinstance(cell, ParquetCell):
                    digest.update(f"{cell.column}\0{cell.group}\0{cell.row}\0".encode())
                if isinstance(cell, dict) and "offset" in cell:
                    digest.update(f"{cell['offset']}\0{cell['length']}\0".encode())
            except (OSError, TypeError, ValueError):
                digest.update(f"{path}\0missing\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _is_plain(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels[:1, :1]).all())


def _decode(
    cells: list[Any], shape: Shape, rendering: Rendering
) -> tuple[cache_file.Arrays, Callable[[], dict[str, Any]]]:
    """What `cache_file.cached` writes: pixels, their hashes, and what could not be read."""
    hashes = np.zeros(len(cells), dtype=np.uint64)
    unreadable: dict[int, str] = {}
    plain = 0

    def pixels() -> Iterator[np.ndarray]:
        nonlocal plain
        number = 0
        yield np.zeros((0, *shape), dtype=np.uint8)
        for block in _blocks(cells, shape, rendering):
            filled = np.zeros((len(block), *shape), dtype=np.uint8)
            for place, picture in enumerate(block):
                if isinstance(picture, str):
                    unreadable[number] = picture
                else:
                    filled[place] = picture
                    plain += _is_plain(picture)
                    hashes[number] = int.from_bytes(blake2b(picture.tobytes(), digest_size=8).digest(), "little")
                number += 1
            yield filled

    def reasons() -> Iterator[np.ndarray]:
        yield np.frombuffer(json.dumps(unreadable).encode(), dtype=np.uint8)

    def all_hashes() -> Iterator[np.ndarray]:
        yield hashes

    arrays = {"hashes": ("U64", all_hashes()), "unreadable": ("U8", reasons())}
    return {"pixels": ("U8", pixels()), **arrays}, lambda: {"plain": plain}


def _blocks(cells: list[Any], shape: Shape, rendering: Rendering) -> Iterator[list[np.ndarray | str]]:
    """Pictures in order, or why they cannot be read; a block at a time, so that decoded ones do not pile up."""
    from rich.progress import track

    def read(cell: Any) -> np.ndarray | str:
        try:
            return read_picture(cell, shape, rendering)
        except Unreadable as error:
            return str(error)

    starts = range(0, len(cells), 1024)
    with without_pillows_warnings(), ThreadPoolExecutor() as threads:  # Pillow decodes outside Python's lock
        for start in track(starts, description="decoding pictures", transient=True, disable=len(cells) < 5000):
            yield list(threads.map(read, cells[start : start + 1024]))


def read_all(cells: pd.Series, shape: Shape, rendering: Rendering) -> tuple[np.ndarray, dict[int, str]]:
    """Pictures (M, H, W, C) that can be read, in order, and why each of the others cannot."""
    pictures = [each for block in _blocks(cells.tolist(), shape, rendering) for each in block]
    unreadable = {number: each for number, each in enumerate(pictures) if isinstance(each, str)}
    readable = [each for each in pictures if not isinstance(each, str)]
    return np.stack(readable) if readable else np.zeros((0, *shape), dtype=np.uint8), unreadable


def unreadable_names(cells: pd.Series, unreadable: dict[int, str]) -> list[str]:
    """What the pictures that could not be read are called, and why they could not."""
    return [f"{name_of(cells.iloc[number], number)} ({reason})" for number, reason in unreadable.items()]


def _clear_older_format(folder: Path) -> None:
    """Remove pixels as earlier versions kept them, a folder for each set, once they have not changed for long."""
    for done in folder.glob("*/done.json"):
        with suppress(OSError):
            if time.time() - done.stat().st_mtime > cache_file.UNUSED_DAYS * 24 * 3600:
                shutil.rmtree(done.parent)
