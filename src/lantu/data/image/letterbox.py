"""Letterboxing: pictures of any size on a canvas of one size, their aspect ratio kept, with grey beside them."""

from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lantu.data import cache_file
from lantu.data.image.box_augmentation import FILL
from lantu.data.image.read_picture import Rendering, Shape, Unreadable, channels_of, flattened, opened, upright_size

PLAIN = Rendering()
STEP = 32
"""Canvas sides are multiples of this: networks halve them five times."""
BLOCK = 64
"""Pictures that are decoded at once."""


@dataclass(frozen=True)
class Headers:
    """Sizes, channels and hashes of many files, read from their headers and bytes."""

    sizes: np.ndarray
    """Width and height (N, 2) in pixels, upright; 0 where a picture cannot be read."""
    channels: int
    """The largest number of any: 1 grey, 3 colour."""
    hashes: np.ndarray
    """(N,) uint64 of each file's bytes."""
    unreadable: dict[int, str]
    """The pictures that cannot be read, and why."""


def read_headers(cells: Sequence[Any]) -> Headers:
    """Return the sizes of all pictures, and hashes that are equal for equal files."""
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(_header, cells))
    return Headers(
        sizes=np.array([each[:2] for each in found], np.int64).reshape(-1, 2),
        channels=max((each[2] for each in found), default=1),
        hashes=np.array([each[3] for each in found], np.uint64),
        unreadable={number: each[4] for number, each in enumerate(found) if each[4] is not None},
    )


def canvas_shape(sizes: np.ndarray, *, size: int, channels: int) -> Shape:
    """Return the smallest canvas, in steps of 32 pixels, that holds all pictures once their longer side is `size`.

    Args:
        sizes: width and height (N, 2) of the training pictures.
    """
    scaled = sizes * (size / sizes.max(axis=1, keepdims=True))
    width, height = (max(STEP, int(np.ceil((side - 1) / STEP)) * STEP) for side in scaled.max(axis=0))
    return height, width, channels


def letterbox(cell: Any, shape: Shape, rendering: Rendering = PLAIN) -> np.ndarray:
    """Return one picture at the upper left of a canvas, uint8 (H, W, C).

    Raises:
        Unreadable: with the reason.
    """
    with opened(cell) as picture:
        height, width = upright_size(picture)
        wide, high = scaled_size((width, height), shape)
        turned = (width, height) != picture.size
        # lets JPEG be decoded at a half or a quarter of its size
        picture.draft(None, (high, wide) if turned else (wide, high))
        flat = flattened(picture, rendering).convert("L" if shape[2] == 1 else "RGB")
    if flat.size != (wide, high):
        flat = flat.resize((wide, high), Image.Resampling.BILINEAR)
    canvas = np.full(shape, FILL, np.uint8)
    canvas[:high, :wide] = np.asarray(flat).reshape(high, wide, shape[2])
    return canvas


def scaled_size(size: tuple[int, int], shape: Shape) -> tuple[int, int]:
    """Return the width and height on a canvas of a picture with a width and height."""
    scale = min(shape[1] / size[0], shape[0] / size[1])
    return min(shape[1], max(1, round(size[0] * scale))), min(shape[0], max(1, round(size[1] * scale)))


class Canvases:
    """Letterboxed pictures, decoded once into a memory-mapped file, or at each access if that would be too large.

    Args:
        cells: paths, arrays, or the hub's {"bytes", "path"}.
        shape: of the canvas.
        key: changes when the pictures change; None: they are decoded at each access.
        cache: folder for the file.
        limit: largest size of the file, in bytes.
    """

    def __init__(
        self, cells: Sequence[Any], shape: Shape, *, key: str | None = None, cache: Path | None = None, limit: int = 0
    ) -> None:
        self.cells, self.shape = cells, shape
        self.unreadable: dict[int, str] = {}
        """The pictures that cannot be read, and why; empty where they are decoded at each access."""
        self._pixels: np.ndarray | None = None
        if key is not None and cache is not None and len(cells) * int(np.prod(shape)) <= limit:
            name = blake2b(f"{key}|{shape}|{len(cells)}".encode(), digest_size=12).hexdigest()
            kept = cache_file.cached(cache / "images" / f"{name}.letterboxed.safetensors", self._decoded)
            self._pixels = kept.arrays["pixels"]
            self.unreadable = {int(number): why for number, why in kept.facts["unreadable"].items()}

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, number: int) -> np.ndarray:
        """Return one canvas, uint8 (H, W, C)."""
        return letterbox(self.cells[number], self.shape) if self._pixels is None else self._pixels[number]

    def damaged(self, *, but: Container[int]) -> dict[int, str]:
        """Decode all pictures `but` some; return those that cannot be decoded, and why."""

        def why(number: int) -> str | None:
            try:
                letterbox(self.cells[number], self.shape)
            except Unreadable as error:
                return str(error)
            return None

        numbers = [number for number in range(len(self.cells)) if number not in but]
        with ThreadPoolExecutor() as threads:
            reasons = zip(numbers, threads.map(why, numbers), strict=True)
            return {number: reason for number, reason in reasons if reason}

    def _decoded(self) -> Any:
        unreadable: dict[int, str] = {}

        def one(number: int) -> np.ndarray:
            try:
                return letterbox(self.cells[number], self.shape)
            except Unreadable as error:
                unreadable[number] = str(error)
                return np.zeros(self.shape, np.uint8)

        def blocks() -> Iterator[np.ndarray]:
            with ThreadPoolExecutor() as threads:  # Pillow decodes outside Python's lock
                for start in range(0, len(self.cells), BLOCK):
                    numbers = range(start, min(start + BLOCK, len(self.cells)))
                    yield np.stack(list(threads.map(one, numbers)))

        return {"pixels": ("U8", blocks())}, lambda: {"unreadable": unreadable}


def _header(cell: Any) -> tuple[int, int, int, int, str | None]:
    """Return width, height, channels and hash of a file, and why it cannot be read; None: it can."""
    try:
        with opened(cell) as picture:
            height, width = upright_size(picture)
            channels = channels_of(picture)
            content = _bytes(cell)
    except Unreadable as error:
        return 0, 0, 1, 0, str(error)
    return width, height, channels, int.from_bytes(blake2b(content, digest_size=8).digest(), "little"), None


def _bytes(cell: Any) -> Any:
    if isinstance(cell, dict):
        cell = cell["bytes"] if cell.get("bytes") else cell["path"]
    if isinstance(cell, np.ndarray):
        return np.ascontiguousarray(cell)
    return cell if isinstance(cell, bytes) else Path(cell).read_bytes()
