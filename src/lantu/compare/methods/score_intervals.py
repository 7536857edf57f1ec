"""The interval of a mean score: the variance over seeds, and that over the finite set of examples."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import stats


class Examples(Protocol):
    """What is known of the uncertainty that the finite set of examples adds."""

    def error(self, group: str) -> float:
        """Standard error of a group's mean score over the examples; nan where not known."""

    def error_between(self, group: str, other: str) -> float:
        """Standard error of the difference of two groups' mean scores over the examples; nan where not known."""


class ExampleErrors:
    """The examples' standard errors as numbers that can be added: 0 where nothing is known."""

    def __init__(self, examples: Examples | None) -> None:
        self._examples = examples

    def of(self, group: str) -> float:
        found = self._examples.error(group) if self._examples else np.nan
        return found if np.isfinite(found) else 0.0

    def beside(self, winner: str, others: Iterable[str]) -> np.ndarray:
        """Of the difference of each other group (N,) to the winner.

        A group whose predictions are not known, such as one far from the best, has the largest error of those that
        are: without it, the same difference would be tested more sharply where less is known.
        """
        found = np.array([self._examples.error_between(each, winner) if self._examples else np.nan for each in others])
        known = np.isfinite(found)
        return np.where(known, found, found[known].max(initial=0.0))


def interval(values: pd.Series, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student's interval of some numbers; the interval is missing for fewer than two."""
    values = values.dropna()
    n, mean = len(values), float(values.mean()) if len(values) else np.nan
    if n < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * values.std() / np.sqrt(n))
    return mean, mean - half, mean + half


def add_intervals(table: pd.DataFrame, errors: ExampleErrors, level: float, overlap: float) -> None:
    """Each group's interval by itself: seeds and examples; missing with one seed, or without any variance."""
    n, sd = table["seeds"].to_numpy(dtype=float), table["sd"].to_numpy(dtype=float)
    over_seeds = np.where(n > 1, sd**2 * (1 / n + overlap), np.nan)
    over_examples = np.array([errors.of(str(name)) ** 2 for name in table.index])
    variance = over_seeds + over_examples
    half = _quantile(over_seeds, over_examples, n - 1, 0.5 + level / 2) * np.sqrt(
        np.where(variance > 0, variance, np.nan)
    )
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half


def _quantile(over_seeds: np.ndarray, over_examples: np.ndarray, freedom: np.ndarray, share: float) -> np.ndarray:
    """Student's quantile with Satterthwaite's degrees of freedom, the examples counting as many."""
    with np.errstate(all="ignore"):
        joint = freedom * ((over_seeds + over_examples) / over_seeds) ** 2
    return np.asarray(stats.t.ppf(share, np.clip(np.where(over_seeds > 0, joint, np.inf), 1, 1e6)))
