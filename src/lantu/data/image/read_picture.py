"""Read one picture as an image viewer shows it: upright, opaque, eight bits, its first frame."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lantu.data.image.medical import is_medical, read_levels
from lantu.data.image.parquet_cell import ParquetCell
from lantu.errors import UserError

Shape = tuple[int, int, int]
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of grey pictures with more than eight bits."""
GREY = ("1", "L", "LA", "La", *DEEP)
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Pillow's formats of `IMAGE_ENDINGS`, whichever ending a file has: for EPS, Pillow would start Ghostscript."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""


class Unreadable(Exception):
    """Why a file cannot be read as a picture, in a few words."""


@dataclass(frozen=True)
class Rendering:
    """How pictures become bytes where there is a choice; learned in training, and applied to every later picture."""

    background: int = 255
    """Grey level beneath transparent pixels."""
    integers: tuple[float, float] = (0, 65_535)
    """Levels that are black and white in pictures of 16 or 32 bits."""
    floats: tuple[float, float] = (0, 1)
    """Levels that are black and white in floating-point pictures."""

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def restored(cls, state: dict[str, Any] | None) -> "Rendering":
        """From `state`; of checkpoints that were written before there was one, the default."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in (state or {}).items()
        }
        return cls(**values)


def read_picture(cell: Any, shape: Shape | None = None, rendering: Rendering = Rendering()) -> np.ndarray:
    """One picture as bytes (H, W, C).

    Args:
        cell: a path, an array, the hub's {"bytes", "path"}, or where a picture lies in a Parquet file.
        shape: height, width and channels to bring it to: scaled until it covers them, then cut to its middle, so that
            nothing is distorted. None: its own size, and one channel if it is grey.

    Raises:
        Unreadable: with the reason.
    """
    with opened(cell) as picture:
        channels = channels_of(picture) if shape is None else shape[2]
        flat = flattened(picture, rendering)
        if flat.mode != (mode := "L" if channels == 1 else "RGB"):
            flat = flat.convert(mode)
        if shape is not None and flat.size != (shape[1], shape[0]):
            flat = ImageOps.fit(flat, (shape[1], shape[0]), method=Image.Resampling.BILINEAR)
        pixels = np.asarray(flat)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


@contextlib.contextmanager
def opened(cell: Any) -> Iterator[Image.Image]:
    """A picture, of which so far only the header has been read.

    Raises:
        Unreadable: also for what is found wrong with its content inside the block.
    """
    try:
        with _open(cell) as picture:
            yield picture
    except (Unreadable, UserError):
        raise
    except UnidentifiedImageError:
        raise Unreadable("the file is empty" if _is_empty(cell) else "no picture in a known format") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from None
    except FileNotFoundError:
        raise Unreadable("there is no such file") from None
    except Exception as error:  # Pillow's decoders raise almost anything for damaged files
        reason = str(error).partition("\n")[0].strip() or type(error).__name__
        raise Unreadable("the file is cut short" if "truncated" in reason.lower() else f"damaged: {reason}") from None


@contextlib.contextmanager
def without_pillows_warnings() -> Iterator[None]:
    """Large and damaged pictures are answered by `read_picture`, not by warnings. Not for use in several threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\..*")
        yield


def flattened(picture: Image.Image, rendering: Rendering) -> Image.Image:
    """Upright, without alpha, in eight bits: mode L or RGB."""
    picture.load()
    picture = _upright(picture)
    if picture.mode == "LAB":  # Pillow converts it by colour profiles alone
        picture = _from_lab(picture)
    if picture.mode in DEEP:
        return Image.fromarray(_eight_bits(picture, rendering))
    if has_alpha(picture):
        picture = picture.convert("RGBA")
        background = Image.new("RGBA", picture.size, (rendering.background,) * 3 + (255,))
        return Image.alpha_composite(background, picture).convert("RGB")
    mode = "L" if picture.mode in GREY else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def has_alpha(picture: Image.Image) -> bool:
    """Whether some of a picture may be transparent."""
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def channels_of(picture: Image.Image) -> int:
    """1 for grey pictures, 3 for others."""
    return 1 if picture.mode in GREY else 3


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width as a viewer shows it, from the header alone."""
    # Pillow has turned the size of a TIFF already, and would decode a PNG to look for what it says at its end
    told = picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info)
    turned = told and picture.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def name_of(cell: Any, number: int) -> str:
    """What a picture is called: its path, or its number."""
    path: Any
    if isinstance(cell, ParquetCell):
        path = f"{cell.path}, row {cell.row} of row group {cell.group}"
    elif isinstance(cell, dict):
        path = f"{cell['path']}, {cell['name']}" if "offset" in cell else cell.get("path")
    else:
        path = cell
    return path if isinstance(path, str) else f"number {number}"


def _open(cell: Any) -> Image.Image:
    if isinstance(cell, np.ndarray):
        return _from_array(cell)
    if isinstance(cell, ParquetCell):
        cell = cell.read()
    if isinstance(cell, dict):
        if cell.get("bytes") is None and cell.get("path") is None:
            raise Unreadable("the cell is empty")
        if "offset" in cell:
            return Image.open(BytesIO(_part_of_a_file(cell)), formats=FORMATS)
        cell = BytesIO(cell["bytes"]) if cell.get("bytes") is not None else cell["path"]
    if isinstance(cell, str | os.PathLike) and is_medical(str(cell)) and os.path.isfile(cell):
        return Image.fromarray(read_levels(str(cell)))
    if not isinstance(cell, str | os.PathLike | BytesIO):
        raise Unreadable("the cell holds no picture and no path")
    return Image.open(cell, formats=FORMATS)


def _part_of_a_file(cell: dict[str, Any]) -> bytes:
    """The bytes of a picture that lies in a larger file, such as a tar shard."""
    with open(cell["path"], "rb") as file:
        file.seek(cell["offset"])
        return file.read(cell["length"])


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int32)
    return Image.fromarray(array)


def _is_empty(cell: Any) -> bool:
    cell = cell.read() if isinstance(cell, ParquetCell) else cell
    if isinstance(cell, dict) and cell.get("bytes") is not None:
        return not cell["bytes"]
    path = cell.get("path") if isinstance(cell, dict) else cell
    return isinstance(path, str) and os.path.isfile(path) and not os.path.getsize(path)


def _eight_bits(picture: Image.Image, rendering: Rendering) -> np.ndarray:
    levels = np.nan_to_num(np.asarray(picture, dtype=np.float64), posinf=float(np.finfo(np.float32).max))
    black, white = rendering.floats if picture.mode == "F" else rendering.integers
    return np.clip((levels - black) * (255 / (white - black)), 0, 255).round().astype(np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        if picture.getexif().get(ORIENTATION, 1) == 1:
            return picture  # `exif_transpose` would copy it
        return ImageOps.exif_transpose(picture)
    except Exception:  # the pixels are whole, though what a camera wrote beside them is not
        return picture


def _from_lab(picture: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    assert converted is not None
    return converted
