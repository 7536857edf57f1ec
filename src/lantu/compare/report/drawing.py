"""What several of the report's pictures share."""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from lantu.compare.methods.groups import as_text

GREY = "#8d99a6"


def without_worst(values: np.ndarray, mode: str) -> np.ndarray:
    """What sets the scale of a picture: of many values, the worst in fifty do not."""
    if len(values) < 40:
        return values
    return values[values <= np.quantile(values, 0.98)] if mode == "min" else values[values >= np.quantile(values, 0.02)]


def words(value: object) -> str:
    """A setting as text."""
    return "none" if pd.isna(value) else as_text(value)


def cut_apart(texts: Sequence[str], most: int) -> list[str]:
    """Texts for places that are too short for them, without the folder or the module that all have in common."""
    start = 0
    if len(texts) > 1 and max(map(len, texts)) > most:
        alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
        start = max((at + 1 for at, letters in enumerate(alike) if letters[0] in "/."), default=0)
    return [cut(f"…{each[start:]}" if start else each, most) for each in texts]


def cut(text: str, most: int) -> str:
    """The beginning of a text that is too long for its place."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
