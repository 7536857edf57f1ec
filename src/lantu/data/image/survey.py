"""What is common to a set of pictures: their size and channels, and how to show deep or transparent ones."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lantu.data import cache_file
from lantu.data.image.read_picture import (
    DEEP,
    Rendering,
    Shape,
    Unreadable,
    channels_of,
    flattened,
    has_alpha,
    opened,
    upright_size,
    without_pillows_warnings,
)

LARGEST = 224
"""Pixels that pictures of different sizes are brought to at most, unless a size is asked for."""
DIM = 65_535 / 8
"""Pictures of 16 bits that reach no more than this are nearly black, as they are not scaled each by itself."""


@dataclass(frozen=True)
class Survey:
    """What is common to a set of pictures."""

    shape: Shape
    rendering: Rendering
    findings: list[tuple[int, str]]
    """What a person should know of them: a count and what it is of."""


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
    height, width = _common_size(looks) if size is None else (size, size)
    channels = max((look.channels for look in looks), default=1)
    transparent = [look for look in looks if look.transparent]
    if background is None:
        background = _background(transparent)
    shown = {255: "white", 0: "black"}.get(background, f"grey level {background}")
    findings = [
        (sum(look.frames for look in looks), "pictures of several frames: the first one is used"),
        (len(transparent), f"pictures with transparency, shown on {shown} (`data.background=0` to 255)"),
    ]
    integers, floats, default = levels, levels, Rendering()
    if levels is None:
        integers, of_integers = _levels(looks, kind="integers", whites=(65_535,), depth="more than 8 bits")
        floats, of_floats = _levels(looks, kind="floats", whites=(1, 255, 65_535), depth="floating-point numbers")
        findings += of_integers + of_floats
    rendering = Rendering(background, integers or default.integers, floats or default.floats)
    return Survey((height, width, channels), rendering, [each for each in findings if each[0]])


def _common_size(looks: list["_Look"]) -> tuple[int, int]:
    """The height and width that all pictures have, or else a square of the median shorter side."""
    sizes = Counter(look.size for look in looks)
    if len(sizes) == 1:
        return next(iter(sizes))
    sides = sorted(min(each) for each in sizes.elements()) or [LARGEST]
    side = min(LARGEST, max(8, round(sides[len(sides) // 2] / 8) * 8))
    return side, side


def _background(transparent: list["_Look"]) -> int:
    """The grey level on which the fewest pictures vanish: white, black, or grey where some vanish on either."""
    vanishing = {on: sum(look.vanishes == on for look in transparent) for on in ("white", "black")}
    if min(vanishing.values()) > 0.02 * len(transparent):
        return 128
    return 255 if vanishing["white"] <= vanishing["black"] else 0


def _levels(
    looks: list["_Look"], *, kind: str, whites: tuple[int, ...], depth: str
) -> tuple[tuple[float, float] | None, list[tuple[int, str]]]:
    """The levels shown as black and as white in pictures of more than eight bits, and what a person should know.

    Args:
        looks: of all pictures.
        kind: integers or floats.
        whites: the usual levels of white, of which the first is taken that no picture exceeds.
        depth: the kind in words.
    """
    reach = [look.reach for look in looks if look.deep == kind and look.reach is not None]
    if not reach:
        return None, []
    least, largest = min(low for low, _ in reach), max(high for _, high in reach)
    usual = next((white for white in whites if least >= 0 and largest <= white), None)
    black, white = (least, max(largest, least + 1)) if usual is None else (0, usual)
    said = f"{black:,g} is shown as black and {white:,g} as white (`data.levels=[{black:g},{white:g}]`)"
    findings = [(len(reach), f"pictures of {depth}: {said}")]
    if kind == "integers" and least >= 0 and largest <= DIM:
        dim = f"of them reach {largest:,g} at most and are nearly black: try `data.levels=[0,{largest:g}]`"
        findings.append((len(reach), dim))
    return (black, white), findings


@dataclass(frozen=True)
class _Look:
    """What a look at one picture tells."""

    size: tuple[int, int]
    channels: int
    frames: bool
    deep: str | None = None
    reach: tuple[float, float] | None = None
    """The least and the largest level of a picture with more than eight bits."""
    transparent: bool = False
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
                return look(transparent=True, vanishes=_vanishes_on(picture))
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
