"""Decode pictures once: to bytes of one size, in a file that every later run maps into memory."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

LARGEST = 224
"""Pixels that pictures of different sizes are brought to at most, unless a size is asked for."""
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Pixels:
    """Pictures as bytes."""

    array: np.ndarray
    """(N, height, width, channels) uint8, memory-mapped; zeros where a picture could not be read."""
    hashes: np.ndarray
    """(N,) uint64 of each picture's pixels."""
    unreadable: list[str]
    """The names of pictures that could not be read."""
    readable: np.ndarray
    """(N,) bool."""


def decoded(cells: pd.Series, *, key: str, size: int | None, shape: Shape | None, cache: Path) -> Pixels:
    """All pictures of a column, from the cache if they were decoded before.

    Args:
        cells: arrays, paths, or the hub's {"bytes", "path"}.
        key: changes when the pictures change.
        size: height and width asked for; None: found.
        shape: height, width and channels as in training; None: found.
        cache: folder for the decoded pixels.
    """
    name = blake2b(f"{key}|{size}|{shape}|{len(cells)}".encode(), digest_size=12).hexdigest()
    folder = cache / "images" / name
    if not (folder / "done.json").is_file():
        _fill(folder, cells.tolist(), size, shape)
    hashes = np.load(folder / "hashes.npy")
    unreadable = json.loads((folder / "done.json").read_text())["unreadable"]
    readable = np.ones(len(cells), dtype=bool)
    readable[[number for number, _ in unreadable]] = False
    return Pixels(np.load(folder / "pixels.npy", mmap_mode="r"), hashes, [called for _, called in unreadable], readable)


def decode(cell: Any, shape: Shape | None = None) -> np.ndarray | None:
    """One picture as (H, W, C) bytes, brought to a shape if one is given; None when it cannot be read."""
    try:
        picture = _opened(cell)
        wanted = _channels(picture) if shape is None else shape[2]
        picture = picture.convert("L" if wanted == 1 else "RGB")
        if shape is not None and picture.size != (shape[1], shape[0]):
            picture = _fitted(picture, height=shape[0], width=shape[1])
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):  # what Pillow raises for damaged files
        return None
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def common_shape(cells: Sequence[Any], size: int | None) -> Shape:
    """Height, width and channels for all pictures: their own where they agree, else the median side, at most 224."""
    seen: Counter[tuple[int, int]] = Counter()
    channels = 1
    for cell in cells:
        try:
            picture = _opened(cell)
        except (UnidentifiedImageError, OSError, ValueError):
            continue
        seen[picture.height, picture.width] += 1
        channels = max(channels, _channels(picture))
    if size is not None:
        return size, size, channels
    if len(seen) == 1:
        (height, width) = next(iter(seen))
        return height, width, channels
    sides = sorted(min(shape) for shape in seen.elements()) or [LARGEST]
    side = min(LARGEST, max(8, round(sides[len(sides) // 2] / 8) * 8))
    return side, side, channels


def _fill(folder: Path, cells: list[Any], size: int | None, shape: Shape | None) -> None:
    """Decode into files beside the final ones, and move them there when they are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = shape or common_shape(cells, size)
    mine = f".{os.getpid()}.part"
    pixels = np.lib.format.open_memmap(
        folder / f"pixels.npy{mine}", mode="w+", dtype=np.uint8, shape=(len(cells), *shape)
    )
    hashes = np.zeros(len(cells), dtype=np.uint64)
    unreadable = []
    for number, picture in enumerate(_decoded_in_order(cells, shape)):
        if picture is None:
            unreadable.append((number, _called(cells[number], number)))
            continue
        pixels[number] = picture
        hashes[number] = int.from_bytes(blake2b(picture.tobytes(), digest_size=8).digest(), "little")
    pixels.flush()
    np.save(folder / f"hashes{mine}.npy", hashes)
    (folder / f"done.json{mine}").write_text(json.dumps({"shape": shape, "unreadable": unreadable}))
    os.replace(folder / f"pixels.npy{mine}", folder / "pixels.npy")
    os.replace(folder / f"hashes{mine}.npy", folder / "hashes.npy")
    os.replace(folder / f"done.json{mine}", folder / "done.json")


def _decoded_in_order(cells: list[Any], shape: Shape) -> Iterator[np.ndarray | None]:
    from rich.progress import track

    blocks = range(0, len(cells), 1024)  # a block at a time, so that decoded pictures do not pile up
    with ThreadPoolExecutor() as threads:  # Pillow decodes outside Python's lock
        for start in track(blocks, description="decoding pictures", transient=True, disable=len(cells) < 5000):
            yield from threads.map(lambda cell: decode(cell, shape), cells[start : start + 1024])


def _opened(cell: Any) -> Image.Image:
    if isinstance(cell, np.ndarray):
        return Image.fromarray(cell)
    if isinstance(cell, dict):
        cell = BytesIO(cell["bytes"]) if cell.get("bytes") else cell["path"]
    return Image.open(cell)


def _channels(picture: Image.Image) -> int:
    return 1 if picture.mode in ("1", "L", "I", "I;16", "F") else 3


def _fitted(picture: Image.Image, *, height: int, width: int) -> Image.Image:
    """Scaled until it covers the shape, then cut to its middle, so that nothing is distorted."""
    from PIL import ImageOps

    return ImageOps.fit(picture, (width, height), method=Image.Resampling.BILINEAR)


def _called(cell: Any, number: int) -> str:
    path = cell.get("path") if isinstance(cell, dict) else cell
    return path if isinstance(path, str) else f"number {number}"
