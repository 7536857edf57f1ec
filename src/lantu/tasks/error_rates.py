"""Word error rates of a test set and of its groups, with intervals."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

RESAMPLES = 1000
LEVEL = 0.95
EDGES = (0.0, 1.0, 2.0, 4.0, 8.0, np.inf)
"""Seconds that part the groups of durations."""


def error_rates(recordings: pd.DataFrame) -> pd.DataFrame:
    """The word error rate of all recordings, of each speaker and of each range of durations, pooled over words.

    Intervals are the middle 95% of 1,000 bootstrap samples of recordings, since the errors within one depend on each
    other; a group of one recording has none.

    Args:
        recordings: `words` and `errors` of each, and where they are known `speaker` and `seconds`.
    """
    columns = ["group", "value", "recordings", "words", "wer", "low", "high"]
    return pd.DataFrame(_rows(recordings), columns=columns, dtype=object)


def _rows(recordings: pd.DataFrame) -> Iterator[list[Any]]:
    yield _row("all", "", recordings)
    if "speaker" in recordings and recordings["speaker"].nunique() > 1:
        for name, group in recordings.groupby("speaker"):
            yield _row("speaker", name, group)
    if "seconds" in recordings:
        for low, high in itertools.pairwise(EDGES):
            group = recordings[(recordings["seconds"] >= low) & (recordings["seconds"] < high)]
            if len(group):
                yield _row("seconds", f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} or more", group)


def _row(group: str, value: str, recordings: pd.DataFrame) -> list[Any]:
    words, errors = recordings["words"].to_numpy(), recordings["errors"].to_numpy()
    low, high = interval(words, errors)
    return [group, value, len(words), int(words.sum()), float(errors.sum() / max(words.sum(), 1)), low, high]


def interval(words: np.ndarray, errors: np.ndarray) -> tuple[float | None, float | None]:
    """The bootstrap interval of a pooled rate: words and errors of each recording (N,); None: there is only one."""
    if len(words) < 2:
        return None, None
    drawn = np.random.default_rng(0).integers(len(words), size=(RESAMPLES, len(words)))
    rates = errors[drawn].sum(axis=1) / np.maximum(words[drawn].sum(axis=1), 1)
    low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
