"""What the sentences share: what a run of a configuration is, and how exactly its score is printed."""

import math

from lantu.compare.analysis import Analysis
from lantu.compare.phrases import digits_for


def repetition(analysis: Analysis) -> str:
    """What the runs of a configuration differ in."""
    return "fold" if analysis.groups.folds else "seed"


def digits_of(analysis: Analysis) -> int:
    """Decimals with which the scores are worth printing: those of the narrowest interval, or of their spread."""
    table = analysis.comparison.scored
    half = (table["high"] - table["low"]).min() / 2
    spread = float(table["mean"].std()) if len(table) > 1 else float("nan")
    return digits_for(float(half) if math.isfinite(half) else spread / 10)
