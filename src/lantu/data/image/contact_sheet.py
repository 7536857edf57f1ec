"""Pictures side by side on one sheet."""

import numpy as np
from PIL import Image

GAP = 4
"""Pixels between pictures; pairs are further apart."""
SMALLEST = 64
"""Pixels to which the sides of small pictures are enlarged, so that a person can see them."""


def contact_sheet(before: np.ndarray, after: np.ndarray, *, columns: int = 8) -> Image.Image:
    """Return pairs of pictures, uint8 (N, H, W, C), on one sheet: each original beside its changed copy."""
    scale = max(1, -(-SMALLEST // before.shape[2]))
    height, width = before.shape[1] * scale, before.shape[2] * scale
    pair = 2 * width + 4 * GAP
    rows = -(-len(before) // columns)
    sheet = Image.new("RGB", (min(columns, len(before)) * pair, rows * (height + GAP)), "white")
    for number, both in enumerate(zip(before, after, strict=True)):
        for place, pixels in enumerate(both):
            picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
            left = number % columns * pair + place * (width + GAP)
            sheet.paste(
                picture.resize((width, height), Image.Resampling.NEAREST), (left, number // columns * (height + GAP))
            )
    return sheet
