"""What the predictions of a test mean for the people whom they concern, for comparison between groups."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ClassOutcomes:
    """Whether the favourable class was decided for, and whether it is the true one, for N examples."""

    favourable: str
    """The class that is good for a person."""
    decided: np.ndarray
    """(N,) whether it was decided for."""
    true: np.ndarray
    """(N,) whether it is the truth."""
    probability: np.ndarray
    """(N,) of that class."""


@dataclass(frozen=True, eq=False)
class NumberOutcomes:
    """The predicted numbers and the true ones of N examples, in each target's own units."""

    targets: list[str]
    predicted: np.ndarray
    """(N, targets)."""
    true: np.ndarray
    """(N, targets)."""
