"""Decode pictures once: to bytes of one size, in a file that every later run maps into memory."""

import json
import os
import shutil
import time
from collections import Counter
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
from PIL import Image

from lantu.data import cache_file
from lantu.data.image.parquet_cell import ParquetCell
from lantu.data.image.read_picture import (
    DEEP,
    Rendering,
    Shape,
    Unreadable,
    channels_of,
    flattened,
    has_alpha,
    name_of,
    opened,
    read_picture,
    upright_size,
    without_pillows_warnings,
)

LARGEST = 224
"""Pixels that pictures of different sizes are brought to at most, unless a size is asked for."""
DIM = 65_535 / 8
"""Pictures of 16 bits that reach no more than this are nearly black, as they are not scaled each by itself."""


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


@dataclass(frozen=True)
class Survey:
    """What is common to a set of pictures."""

    shape: Shape
    rendering: Rendering
    findings: list[tuple[int, str]]
    """What a person should know of them: a count and what it is of."""


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


def surveyed(
    cells: pd.Series,
    *,
    size: int | None,
    background: int | None = None,
    levels: tuple[float, float] | None = None,
    cache: Path,
    content: str,
) -> Survey:
    """`survey`, from the cache if it was made before."""
    name = blake2b(f"survey|{content}|{size}|{background}|{levels}".encode(), digest_size=12).hexdigest()

    def make() -> dict[str, Any]:
        made = survey(cells.tolist(), size=size, background=background, levels=levels)
        return {"shape": made.shape, "rendering": made.rendering.state(), "findings": made.findings}

    kept = cache_file.cached_plain(cache / "images" / f"{name}.json", make)
    height, width, channels = kept["shape"]
    findings = [(count, what) for count, what in kept["findings"]]
    return Survey((height, width, channels), Rendering.restored(kept["rendering"]), findings)


def survey(
    cells: list[Any], *, size: int | None, background: int | None = None, levels: tuple[float, float] | None = None
) -> Survey:
    """Find a common shape, and how to show what has more than eight bits or is transparent.

    Args:
        size: height and width asked for. None: their own where they agree, else the median side, at most 224.
        background: grey level beneath transparent pixels asked for. None: white, or black where pictures would vanish
            on it, or grey where some would vanish on either.
        levels: black and white asked for of pictures with more than eight bits. None: 0 and 65,535; of floating-point
            pictures 0 and the first of 1, 255 and 65,535 that none exceeds; else the least and the largest there is.
    """
    with without_pillows_warnings(), ThreadPoolExecutor() as threads:
        looks = [look for look in threads.map(_look, cells) if look is not None]
    findings: list[tuple[int, str]] = []
    sizes = Counter(look.size for look in looks)
    if size is not None:
        height, width = size, size
    elif len(sizes) == 1:
        height, width = next(iter(sizes))
    else:
        sides = sorted(min(each) for each in sizes.elements()) or [LARGEST]
        height = width = min(LARGEST, max(8, round(sides[len(sides) // 2] / 8) * 8))
    channels = max((look.channels for look in looks), default=1)

    animated = sum(look.frames for look in looks)
    findings.append((animated, "pictures of several frames: the first one is used"))
    clear = [look for look in looks if look.clear]
    if background is None:
        vanishing = {on: sum(look.vanishes == on for look in clear) for on in ("white", "black")}
        background = 255 if vanishing["white"] <= vanishing["black"] else 0
        if min(vanishing.values()) > 0.02 * len(clear):
            background = 128
    shown = {255: "white", 0: "black"}.get(background, f"grey level {background}")
    findings.append((len(clear), f"pictures with transparency, shown on {shown} (`data.background=0` to 255)"))

    integers, floats = levels, levels
    for kind in ("integers", "floats"):
        reach = [look.reach for look in looks if look.deep == kind and look.reach is not None]
        if not reach or levels is not None:
            continue
        least, largest = min(low for low, _ in reach), max(high for _, high in reach)
        whites = (65_535,) if kind == "integers" else (1, 255, 65_535)
        white = next((white for white in whites if least >= 0 and largest <= white), None)
        found = (least, max(largest, least + 1)) if white is None else (0, white)
        said = f"{found[0]:,g} is shown as black and {found[1]:,g} as white (`data.levels=[{found[0]:g},{found[1]:g}]`)"
        depth = "more than 8 bits" if kind == "integers" else "floating-point numbers"
        findings.append((len(reach), f"pictures of {depth}: {said}"))
        if kind == "integers" and white is not None and largest <= DIM:
            dim = f"of them reach {largest:,g} at most and are nearly black: try `data.levels=[0,{largest:g}]`"
            findings.append((len(reach), dim))
        integers, floats = (found, floats) if kind == "integers" else (integers, found)
    default = Rendering()
    rendering = Rendering(background, integers or default.integers, floats or default.floats)
    return Survey((height, width, channels), rendering, [each for each in findings if each[0]])


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


@dataclass(frozen=True)
class _Look:
    """What a look at one picture tells."""

    size: tuple[int, int]
    channels: int
    frames: bool
    deep: str | None = None
    reach: tuple[float, float] | None = None
    """The least and the largest level of a picture with more than eight bits."""
    clear: bool = False
    """Whether pixels are transparent."""
    vanishes: str | None = None
    """On which background it cannot be seen: white, black or none."""


def _look(cell: Any) -> _Look | None:
    try:
        with opened(cell) as picture:
            # a phone's JPEG may hold a preview beside the picture, which is no second frame
            frames = picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
            look = partial(_Look, upright_size(picture), channels_of(picture), frames)
            if picture.mode in DEEP:
                values = np.asarray(picture)
                finite = values[np.isfinite(values)] if picture.mode == "F" else values
                reach = (float(finite.min()), float(finite.max())) if finite.size else None
                return look(deep="floats" if picture.mode == "F" else "integers", reach=reach)
            if has_alpha(picture) and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
                return look(clear=True, vanishes=_vanishes_on(picture))
            return look()
    except Unreadable:
        return None


def _vanishes_on(picture: Image.Image) -> str | None:
    """The background on which a picture with transparent pixels can hardly be told from it."""
    differs = {
        name: np.abs(np.asarray(flattened(picture, Rendering(level)), dtype=np.int16) - level).mean()
        for name, level in (("white", 255), ("black", 0))
    }
    low, high = sorted(differs, key=lambda name: differs[name])
    return low if differs[low] < 0.05 * differs[high] else None


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
