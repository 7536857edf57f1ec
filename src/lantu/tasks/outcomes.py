"""What a test's predictions mean for the people they are about: what is compared between groups of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ClassOutcomes:
    """Of N examples whether the favourable class was decided for, and whether it is the truth."""

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
    """Of N examples the predicted number and the true one, in the target's own units."""

    predicted: np.ndarray
    true: np.ndarray
