"""A picture of training recordings as they are changed at random: log-mel spectrograms in pairs."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lantu.data.samplers import Chosen

if TYPE_CHECKING:
    from PIL import Image

SHOWN = 6
"""Recordings of a sheet."""
WIDTH, HEIGHT = 2, 3
"""Pixels of a frame and of a mel band."""
RANGE = 3.0
"""Deviations from the mean that the darkest and the brightest colour stand for."""
GAP, LINE = 8, 16
"""Pixels between spectrograms, and of a line of text."""
COLOURS = ("#00204c", "#7c7b78", "#ffea46")
"""Of the lowest, the mean and the highest level. Told apart by the colour-blind too, and in black and white."""


def chosen_for_sheet(size: int) -> list[int]:
    """The numbers of up to `SHOWN` examples, spread over a data set of this size."""
    return np.linspace(0, size - 1, min(SHOWN, size)).astype(int).tolist()


def first_epoch(examples: list[int]) -> Chosen:
    """Examples as the run's seed changes them in the first epoch."""
    return Chosen(examples, seed=int(os.environ.get("PL_GLOBAL_SEED", "0")), epoch=0)


def spectrogram_sheet(plain: Sequence[Tensor], changed: Sequence[Tensor], texts: Sequence[str]) -> "Image.Image":
    """Each recording, beside itself as the first epoch has it.

    Args:
        plain, changed: standardised spectrograms (mels, frames) of the same recordings.
        texts: what each of them is, written above.
    """
    from PIL import Image, ImageDraw

    pairs = [(_picture(before), _picture(after)) for before, after in zip(plain, changed, strict=True)]
    middle = GAP + max(before.width for before, _ in pairs) + GAP
    width = middle + max(after.width for _, after in pairs) + GAP
    height = sum(LINE + max(before.height, after.height) + GAP for before, after in pairs) + LINE
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 2), "recording", fill="black")
    draw.text((middle, 2), "as it is trained on", fill="black")
    top = LINE
    for (before, after), text in zip(pairs, texts, strict=True):
        draw.text((GAP, top + 2), _written(text)[: width // 7], fill="black")
        sheet.paste(before, (GAP, top + LINE))
        sheet.paste(after, (middle, top + LINE))
        top += LINE + max(before.height, after.height) + GAP
    return sheet


def _picture(x: Tensor) -> "Image.Image":
    """A spectrogram (mels, frames) in colours, low frequencies at the bottom."""
    from PIL import Image, ImageOps

    levels = ((x.flip(0) / RANGE).clamp(-1, 1) * 127.5 + 127.5).byte().numpy()
    low, mean, high = COLOURS
    picture = ImageOps.colorize(Image.fromarray(levels), black=low, mid=mean, white=high)
    return picture.resize((levels.shape[1] * WIDTH, levels.shape[0] * HEIGHT), Image.Resampling.NEAREST)


def _written(text: str) -> str:
    """A text in the characters that Pillow's own font has."""
    return text.encode("latin-1", "replace").decode("latin-1")
