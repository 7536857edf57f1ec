"""Word and character error rates of a test set and of its groups, with intervals."""

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
    """Word and character error rates of all recordings, of each speaker and of each range of durations, pooled.

    Intervals are the middle 95% of 1,000 bootstrap samples of recordings, since the errors within one depend on each
    other; a group of one recording has none.

    Args:
        recordings: `words`, `errors` in words, `characters` and `character_errors` of each, and where they are known
            `speaker` and `seconds`.
    """
    columns = ["group", "value", "recordings", "words", "wer", "low", "high", "cer", "cer_low", "cer_high"]
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
    words = recordings["words"].to_numpy()
    by_word = pooled(words, recordings["errors"].to_numpy())
    by_character = pooled(recordings["characters"].to_numpy(), recordings["character_errors"].to_numpy())
    return [group, value, len(words), int(words.sum()), *by_word, *by_character]


def pooled(sizes: np.ndarray, errors: np.ndarray) -> tuple[float, float | None, float | None]:
    """An error rate and its bootstrap interval, from the size and the errors of each recording (N,)."""
    return float(errors.sum() / max(sizes.sum(), 1)), *interval(sizes, errors)


def interval(words: np.ndarray, errors: np.ndarray) -> tuple[float | None, float | None]:
    """The bootstrap interval of a pooled rate: words and errors of each recording (N,); None: there is only one."""
    if len(words) < 2:
        return None, None
    drawn = np.random.default_rng(0).integers(len(words), size=(RESAMPLES, len(words)))
    rates = errors[drawn].sum(axis=1) / np.maximum(words[drawn].sum(axis=1), 1)
    low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
