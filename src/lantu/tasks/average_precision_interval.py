"""An interval of a detector's mean average precision at IoU .5, by drawing pictures anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lantu.tasks.detection_matching import Boxes, Match, match

DRAWS = 500
MOST_NUMBERS = 200_000_000
"""Boxes times draws of the bootstrap; fewer draws are made of more boxes."""
RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads the precision."""


class Interval(NamedTuple):
    """Mean average precision at IoU .5, and 95% of it."""

    value: float
    low: float
    high: float


def interval_over_pictures(found: Sequence[Boxes], truth: Sequence[Boxes], *, seed: int = 0) -> Interval | None:
    """Mean average precision at IoU .5 for other pictures of the same kind (bootstrap, Efron 1979).

    Pictures are drawn and not boxes: those of one picture share its light and its focus. Which box hits which object
    is decided within a picture, so it is decided once.

    Args:
        found, truth: predicted and true boxes of each picture.

    Returns:
        None where there is no object, or one picture alone.
    """
    matches = [match(*pair) for pair in zip(found, truth, strict=True)]
    labels = np.unique(np.concatenate([each.truth for each in matches])) if matches else np.zeros(0)
    if not len(labels) or len(matches) < 2:
        return None
    classes = [_ranked(matches, int(label)) for label in labels]
    every = np.ones(len(matches))
    random, drawn = np.random.default_rng(seed), []
    boxes = sum(len(each.hits) for each in matches)
    for _ in range(max(50, min(DRAWS, MOST_NUMBERS // max(boxes, 1)))):
        times = np.bincount(random.integers(0, len(matches), len(matches)), minlength=len(matches))
        if any((times * each.objects).any() for each in classes):
            drawn.append(_mean(classes, times))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(_mean(classes, every), float(low), float(high))


class _Ranked(NamedTuple):
    """The boxes (D,) of one class in all pictures, the likeliest first."""

    hits: np.ndarray
    picture: np.ndarray
    objects: np.ndarray
    """Of the class in each picture."""


def _ranked(matches: Sequence[Match], label: int) -> _Ranked:
    chosen = [(each.labels == label) & ~each.ignored for each in matches]
    scores = np.concatenate([each.scores[rows] for each, rows in zip(matches, chosen, strict=True)])
    hits = np.concatenate([each.hits[rows] >= 0 for each, rows in zip(matches, chosen, strict=True)])
    picture = np.repeat(np.arange(len(matches)), [rows.sum() for rows in chosen])
    order = np.argsort(-scores, kind="stable")
    return _Ranked(hits[order], picture[order], np.array([(each.truth == label).sum() for each in matches]))


def _mean(classes: Sequence[_Ranked], times: np.ndarray) -> float:
    """Mean over the classes that occur, where each picture counts `times`."""
    known = [each for each in classes if (times * each.objects).any()]
    return float(np.mean([_average_precision(each, times) for each in known]))


def _average_precision(ranked: _Ranked, times: np.ndarray) -> float:
    """COCO's: the precision, made monotone, at 101 recalls."""
    weight = times[ranked.picture]
    drawn = weight > 0
    weight, hits = weight[drawn], ranked.hits[drawn]
    if not len(hits):
        return 0.0
    right = np.cumsum(weight * hits)
    precision = np.maximum.accumulate((right / np.cumsum(weight))[::-1])[::-1]
    recall = right / (times * ranked.objects).sum()
    return float(np.append(precision, 0.0)[np.searchsorted(recall, RECALLS)].mean())
