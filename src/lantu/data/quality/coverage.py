"""How much of what is to be predicted the training examples cover, and how different they are from each other."""

from typing import Any

import numpy as np

NEIGHBOURS = 5
"""The radius of a training example's neighbourhood is the distance to this neighbour."""
MOST = 2000
"""Examples of a split that are looked at, drawn at random."""
MOST_COMPARED = 1000
"""Examples whose similarities make a diversity: the work grows with their cube."""


def covered(train: Any, other: Any) -> float:
    """Share of the other examples that lie in the neighbourhood of a training example (Kynkäänniemi et al. 2019).

    Args:
        train, other: features (N, F), dense or sparse.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = min(NEIGHBOURS, train.shape[0] - 1)
    model = NearestNeighbors(n_neighbors=neighbours + 1).fit(train)  # the nearest is the example itself
    radius = model.kneighbors(train)[0][:, -1]
    distance, place = NearestNeighbors(n_neighbors=min(50, train.shape[0])).fit(train).kneighbors(other)
    return float((distance <= radius[place]).any(axis=1).mean())


def vendi(features: Any) -> float:
    """Effective number of different examples (Friedman and Dieng 2023), between 1 and N.

    The exponential of the entropy of the eigenvalues of K / N, where K are the cosine similarities.

    Args:
        features: (N, F), dense or sparse.
    """
    from sklearn.preprocessing import normalize

    unit = normalize(features)
    similarity = unit @ unit.T
    dense = np.asarray(similarity.todense() if hasattr(similarity, "todense") else similarity, dtype=float)
    np.fill_diagonal(dense, 1.0)  # of rows that are all zero as well
    values = np.linalg.eigvalsh(dense / len(dense))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def standardised(train: Any, *others: Any) -> list[Any]:
    """Dense features with the training examples' means and deviations; sparse ones as they are."""
    if not isinstance(train, np.ndarray):
        return [train, *others]
    deviation = train.std(axis=0)
    keep = deviation > 1e-9
    mean, deviation = train[:, keep].mean(axis=0), deviation[keep]
    return [(each[:, keep] - mean) / deviation for each in (train, *others)]
