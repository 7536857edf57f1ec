"""Draw what a generator makes: sheets of images, and how many are of each class."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor

SMALLEST = 56
"""Pixels to which the sides of small images are enlarged, so that a person can see them."""
GAP = 2


def sheet(images: Tensor, *, columns: int) -> Image.Image:
    """Images (N, H, W, C) of bytes in rows."""
    pixels = images.cpu().numpy()
    height, width, channels = pixels.shape[1:]
    scale = max(1, -(-SMALLEST // width))
    rows = -(-len(pixels) // columns)
    across, down = width * scale + GAP, height * scale + GAP
    page = Image.new(
        "L" if channels == 1 else "RGB", (columns * across - GAP, rows * down - GAP), 128 if channels == 1 else "grey"
    )
    for number, each in enumerate(pixels):
        picture = _picture(each).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        page.paste(picture, (number % columns * across, number // columns * down))
    return page


def as_png(pixels: np.ndarray) -> bytes:
    """An image (H, W, C) of bytes as the content of a PNG file."""
    file = BytesIO()
    _picture(pixels).save(file, format="PNG")
    return file.getvalue()


def class_shares(counts: np.ndarray, names: Sequence[str]) -> object:
    """The share of each class among generated images, by the classifier that measures them."""
    from lantu.tasks.plots import COLOURS, sheet

    figure, axes = sheet("Classes of the generated images")
    axes.barh(list(names), counts / max(1, counts.sum()), color=COLOURS[0])
    axes.axvline(1 / len(names), color="0.4", linewidth=1, linestyle="--", label="equal shares")
    axes.set(xlabel="share of the images")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
