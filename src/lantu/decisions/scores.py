"""How good a score is, and how well calibrated, with intervals: NumPy alone."""

from dataclasses import dataclass

import numpy as np

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed frequency in bins of equally many examples, and their mean distance, the ECE."""

    predicted: np.ndarray
    """Mean probability (B,) of each bin."""
    observed: np.ndarray
    """Share (B,) of the examples that it came true for."""
    counts: np.ndarray
    low: np.ndarray
    """Wilson's interval (B,) of the observed share."""
    high: np.ndarray
    ece: float
    """Expected calibration error: the mean distance of the two, weighted by the counts."""
    interval: tuple[float, float]
    """Of the true calibration error, 95%: begins at 0 where a perfect model may well show such an ECE."""
    expected: float
    """The ECE that a perfectly calibrated model would show on average on as many examples."""


def reliability(probability: np.ndarray, happened: np.ndarray, *, bins: int = 10, seed: int = 0) -> Reliability:
    """The reliability curve and the ECE (Naeini et al. 2015, with bins of equal mass: Nguyen and O'Connor 2015).

    Args:
        probability: (N,) of the positive class, or of the predicted one where there are more than two.
        happened: (N,) 0 or 1: whether it was so.
        bins: at most; fewer where there are under 10 examples for each.
    """
    order = np.argsort(probability, kind="stable")
    p, y = probability[order].astype(float), happened[order].astype(float)
    count = max(1, min(bins, len(p) // 10))
    member = np.arange(len(p)) * count // max(1, len(p))
    counts = np.bincount(member, minlength=count).astype(float)
    predicted, observed = (np.bincount(member, values, minlength=count) / counts for values in (p, y))
    ece = float(np.sum(counts * np.abs(predicted - observed)) / len(p))
    random = np.random.default_rng(seed)
    # a bin's sum of errors is nearly normal: around itself in another sample, around 0 if the probabilities were right
    gap, spread = np.bincount(member, p - y, minlength=count), np.bincount(member, (p - y) ** 2, minlength=count)
    chance = np.bincount(member, p * (1 - p), minlength=count)
    left = np.sqrt(np.maximum(spread - gap**2 / counts, 0))  # rounding can bring it below 0
    drawn = np.abs(random.normal(gap, left, (DRAWS, count))).sum(axis=1) / len(p)
    fair = np.abs(random.normal(0, np.sqrt(chance), (DRAWS, count))).sum(axis=1) / len(p)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    least = 0.0 if ece <= np.quantile(fair, LEVEL) else max(0.0, 2 * ece - float(high))
    below, above = wilson(observed * counts, counts)
    interval = (least, max(ece, 2 * ece - float(low)))
    return Reliability(predicted, observed, counts, below, above, ece, interval, float(fair.mean()))


def calibration_pairs(probabilities: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The arguments of `reliability`: of two classes class 1's probability and whether it is the truth, of more the
    probability of the predicted class and whether it is right; (N,) each.

    Args:
        probabilities: (N, classes); y: class numbers (N,).
    """
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], (y == 1).astype(float)
    return probabilities.max(axis=1), (probabilities.argmax(axis=1) == y).astype(float)


def brier(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error of the probabilities: of class 1 for two classes, summed over the classes for more."""
    if probabilities.shape[1] == 2:
        return float(np.mean((probabilities[:, 1] - (y == 1)) ** 2))
    return float(np.mean(((probabilities - np.eye(probabilities.shape[1])[y]) ** 2).sum(axis=1)))


def wilson(successes: np.ndarray, counts: np.ndarray, z: float = 1.959964) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95% interval of shares; (nan, nan) where there are no examples."""
    n = np.where(counts > 0, counts, np.nan).astype(float)
    share = successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def roc_points(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of negatives and of positives at or above each different score, from the highest down; and the scores."""
    order = np.argsort(-score, kind="stable")
    s, y = score[order], positive[order].astype(float)
    last = np.flatnonzero(np.append(np.diff(s) != 0, True))
    true, false = np.cumsum(y)[last], np.cumsum(1 - y)[last]
    return false / max(1.0, (1 - y).sum()), true / max(1.0, y.sum()), s[last]


def ks(score: np.ndarray, positive: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of the scores of positives and negatives; NaN without both."""
    if not 0 < positive.sum() < len(positive):
        return float("nan")
    false, true, _ = roc_points(score, positive)
    return float(np.max(true - false))


def auc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The area under the ROC curve, for each of several weightings (D, N) of the examples: (D,); ties count half.

    Args:
        weights: None: every example once.
    """
    weights = np.ones((1, len(score))) if weights is None else weights
    _, group = np.unique(score, return_inverse=True)
    edges = np.flatnonzero(np.diff(group[order := np.argsort(group, kind="stable")], prepend=-1))
    w, y = weights[:, order], positive[order].astype(float)
    positives = np.add.reduceat(w * y, edges, axis=1)
    negatives = np.add.reduceat(w * (1 - y), edges, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    with np.errstate(invalid="ignore"):
        return (positives * below).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))


def bootstrap_weights(examples: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each example is drawn in each bootstrap sample: (draws, examples) float32.

    Of more than 20,000 examples fewer samples are drawn, 200 at least, to bound the memory.
    """
    random = np.random.default_rng(seed)
    draws = min(draws, max(200, 20_000_000 // max(1, examples)))
    return random.multinomial(examples, np.full(examples, 1 / examples), size=draws).astype(np.float32)
