"""A category as the mean target of its training rows and how often it occurs, for columns with many categories."""

from typing import Any

import numpy as np
import pandas as pd

from lantu.data.values import is_missing

MOST_STORED = 10_000
"""Categories of a column, the most frequent ones; the others count as not seen in training."""
MOST_TARGETS = 10
"""Classes from which on a category's share of each of them is too much to learn."""


class TargetFeatures:
    """Target encoding (Micci-Barreca 2001), shrunk to the mean of all rows by empirical Bayes.

    Args:
        state: plain values as `learn` gives them: levels, values (levels, K) and unseen (K,), all on one scale.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self._places = {level: place for place, level in enumerate(state.get("levels", []))}
        self._values = np.array([*state.get("values", []), state.get("unseen", [])], dtype=np.float64)

    @staticmethod
    def width(state: dict[str, Any]) -> int:
        """The number of features that a state gives."""
        return len(state.get("unseen", []))

    @classmethod
    def learn(cls, texts: pd.Series, y: np.ndarray) -> "TargetFeatures":
        """Learn from the categories (N,) and the targets (N, T) of the training rows."""
        from sklearn.preprocessing import TargetEncoder

        levels = _levels(texts)
        counts = pd.Series(levels).value_counts()
        stored = sorted(str(level) for level in counts.index[:MOST_STORED])
        known = np.array(stored, dtype=object)[:, None]
        unseen = np.array([["\0"]], dtype=object)
        means, rest = [], []
        for target in y.T:
            encoder = TargetEncoder(target_type="continuous").fit(levels[:, None], target)
            means.append(encoder.transform(known)[:, 0])
            rest.append(float(encoder.transform(unseen)[0, 0]))
        means.append(np.log1p(counts[stored].to_numpy(dtype=np.float64)))
        training = _out_of_fold(levels, y)
        center, scale = training.mean(axis=0), training.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        return cls(
            {
                "levels": stored,
                "values": ((np.stack(means, axis=1) - center) / scale).round(6).tolist(),
                "unseen": ((np.array([*rest, 0.0]) - center) / scale).round(6).tolist(),
                "center": center.tolist(),
                "scale": scale.tolist(),
            }
        )

    def encode(self, texts: pd.Series) -> np.ndarray:
        """Features (N, K) float64 of rows that were not learned from."""
        places = pd.Series(_levels(texts)).map(self._places).fillna(-1).to_numpy(dtype=np.int64)
        return self._values[places]  # the last row is that of unseen ones

    def encode_one(self, text: str | None) -> list[float]:
        """The features of one category."""
        level = "" if text is None or is_missing(text) else text
        found: list[float] = self._values[self._places.get(level, -1)].tolist()
        return found

    def encode_training(self, texts: pd.Series, y: np.ndarray) -> np.ndarray:
        """Features (N, K) float64 of the training rows, none of which is told its own target."""
        found = _out_of_fold(_levels(texts), y)
        return (found - np.array(self.state["center"])) / np.array(self.state["scale"])


def _levels(texts: pd.Series) -> np.ndarray:
    """Categories (N,); missing ones are one category, the empty text."""
    missing = texts.isna() | texts.map(is_missing, na_action="ignore").eq(True)
    return texts.astype(object).where(~missing, "").to_numpy(dtype=object)


def _out_of_fold(levels: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mean target of each row's category in other folds, and the logarithm of how many other rows have it."""
    from sklearn.model_selection import KFold
    from sklearn.preprocessing import TargetEncoder

    means = np.zeros(y.shape)
    for known, held_out in KFold(min(5, len(levels)), shuffle=True, random_state=0).split(levels):
        for place, target in enumerate(y.T):
            encoder = TargetEncoder(target_type="continuous").fit(levels[known, None], target[known])
            means[held_out, place] = encoder.transform(levels[held_out, None])[:, 0]
    counts = pd.Series(levels).map(pd.Series(levels).value_counts()).to_numpy(dtype=np.float64)
    return np.column_stack([means, np.log1p(counts - 1)])
