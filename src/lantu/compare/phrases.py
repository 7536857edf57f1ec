"""Figures and counts in words, as the recommendation and the report say them."""

import math

import numpy as np

from lantu.compare.comparison_table import number


def interval(low: float, high: float, digits: int | None = None) -> str:
    """Two ends as words."""
    return f"{number(low, digits)} to {number(high, digits)}"


def digits_for(scale: float) -> int:
    """Decimals with which a number of uncertainty `scale` is worth printing."""
    if not (math.isfinite(scale) and scale > 0):
        return 4
    return int(np.clip(1 - math.floor(math.log10(scale)), 0, 6))


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 run, 1,200 runs."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
