"""Pictures that are decoded whenever a batch needs them, for sets whose pixels are too many to be kept."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import get_worker_info

from lantu.data import cache_file
from lantu.data.image.parquet_cell import ParquetCell
from lantu.data.image.read_picture import Rendering, Shape, Unreadable, name_of, opened, read_picture
from lantu.errors import UserError

SAMPLE = 2048
"""Training pictures by which channels are standardised."""


class DamagedPicture(UserError):
    """Says the same in the main process when it was raised in a worker.

    torch raises the class anew with the worker's traceback as its text, of which the last line is the sentence.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().rpartition(f"{type(self).__name__}: ")[2])


class DecodedOnDemand:
    """An array of pictures (N, H, W, C) uint8 that is decoded row by row; the pixels are those of `decoding.decoded`.

    The examples are chosen by the samplers of `lantu.data.samplers`, as of pictures in memory: the order depends on the
    seed and the epoch alone, ranks share a batch without repeats, and a run resumes in the middle of an epoch.

    Args:
        cells: paths, {"path", "offset", "length"} of a part of a file, `ParquetCell`s, or the hub's {"bytes", "path"}.
        shape: height, width and channels to bring them to.
        rendering: how they become bytes.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, cells: list[Any], *, shape: Shape, rendering: Rendering) -> None:
        # an array of bytes has no reference counts, which would copy the memory that workers share
        paths = all(isinstance(each, str) for each in cells)
        self._cells: Any = np.array([os.fsencode(each) for each in cells]) if paths else cells
        self._shape, self._rendering = shape, rendering

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def blocks(self) -> np.ndarray | None:
        """Of each picture (N,) the number of its row group, where pictures lie in Parquet files; otherwise None."""
        if not len(self) or not isinstance(self._cells[0], ParquetCell):
            return None
        return pd.MultiIndex.from_tuples([(cell.path, cell.group) for cell in self._cells]).factorize()[0]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), *self._shape)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Pictures (M, H, W, C) of M rows, or one (H, W, C).

        Raises:
            UserError: one of them is damaged.
        """
        chosen = np.arange(len(self))[rows]
        if chosen.ndim == 0:
            return self._read(int(chosen))
        pictures = np.empty((len(chosen), *self._shape), dtype=np.uint8)

        def fill(place: int) -> None:
            pictures[place] = self._read(int(chosen[place]))

        if get_worker_info() is not None:  # the workers share the cores
            for place in range(len(chosen)):
                fill(place)
        else:
            with ThreadPoolExecutor(_cores()) as threads:
                list(threads.map(fill, range(len(chosen))))
        return pictures

    def _read(self, row: int) -> np.ndarray:
        cell = self._cells[row]
        cell = os.fsdecode(cell) if isinstance(cell, bytes) else cell
        try:
            return read_picture(cell, self._shape, self._rendering)
        except Unreadable as error:
            raise DamagedPicture(
                f"{name_of(cell, row)}: {error}. With `data.decode=each` a damaged picture is found when a batch needs "
                "it: remove or mend it and start again; `data.decode=once` leaves such pictures out before training."
            ) from None


def headers(cells: pd.Series, *, cache: Path, content: str) -> tuple[dict[int, str], np.ndarray]:
    """Which pictures are none by their header, and why; and a hash (N,) uint64 of each one's place, name and size.

    Pixels are not decoded, so neither pictures that are cut short nor copies are found. The result is kept in `cache`.

    Args:
        content: of `decoding.content_key`.
    """
    name = blake2b(f"headers|{content}".encode(), digest_size=12).hexdigest()
    path = cache / "images" / f"{name}.safetensors"

    def make() -> tuple[cache_file.Arrays, Callable[[], dict[str, Any]]]:
        unreadable, hashes = _read_headers(cells)
        return {"hashes": ("U64", iter([hashes]))}, lambda: {"unreadable": json.dumps(unreadable)}

    file = cache_file.cached(path, make)
    unreadable = {int(number): reason for number, reason in json.loads(file.facts["unreadable"]).items()}
    return unreadable, file.arrays["hashes"]


def _read_headers(cells: pd.Series) -> tuple[dict[int, str], np.ndarray]:

    def look(cell: Any) -> tuple[str | None, int]:
        try:
            with opened(cell):
                return None, _size(cell)
        except Unreadable as error:
            return str(error), 0

    with ThreadPoolExecutor() as threads:
        looks = list(threads.map(look, cells))
    unreadable = {number: reason for number, (reason, _) in enumerate(looks) if reason is not None}
    named = [os.path.basename(name_of(cell, number)) for number, cell in enumerate(cells)]
    told = [
        f"{number}|{name}|{size}".encode() for number, (name, (_, size)) in enumerate(zip(named, looks, strict=True))
    ]
    digests = b"".join(blake2b(each, digest_size=8).digest() for each in told)
    return unreadable, np.frombuffer(digests, dtype=np.uint64)


def sample(rows: np.ndarray) -> np.ndarray:
    """At most `SAMPLE` of some rows, always the same ones."""
    return rows if len(rows) <= SAMPLE else np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))


def _size(cell: Any) -> int:
    cell = cell.read() if isinstance(cell, ParquetCell) else cell
    if isinstance(cell, dict):
        if "length" in cell:
            return int(cell["length"])
        if cell.get("bytes") is not None:
            return len(cell["bytes"])
        cell = cell["path"]
    return os.path.getsize(cell)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
