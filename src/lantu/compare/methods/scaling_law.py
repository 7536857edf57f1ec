"""A scaling law of runs, and what a larger budget would buy.

The form is L(N, D) = E + A / N^alpha + B / D^beta of Hoffmann et al. 2022, "Training Compute-Optimal Large Language
Models"; where only one of N, D or compute C varies, the power law L = E + A / x^alpha. `scaling_fit` fits them.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

FLOPS_PER_PARAMETER_AND_SAMPLE = 6.0
"""C = 6 N D: forward and backward pass of a dense network (Kaplan et al. 2020)."""
REPEATED = 15.39
"""R* of Muennighoff et al. 2023: how many repetitions of the data it takes until more of them add little."""


def effective_samples(seen: np.ndarray, unique: np.ndarray) -> np.ndarray:
    """Samples seen, with repeated ones counted for what they are worth beside new ones.

    Muennighoff et al. 2023, "Scaling Data-Constrained Language Models", equation 5: of U unique samples seen 1 + R
    times, the effective number is U + U R* (1 - exp(-R / R*)). Up to four epochs are nearly as good as new data.

    Args:
        seen: (runs,) samples seen, repetitions included.
        unique: (runs,) different samples that there are.
    """
    unique = np.minimum(unique, seen)
    repeats = seen / unique - 1
    return np.asarray(unique + unique * REPEATED * (1 - np.exp(-repeats / REPEATED)))


@dataclass(frozen=True)
class Law:
    """A fitted law over one or two variables, with its bootstrap."""

    variables: tuple[str, ...]
    """("N", "D"), or one of them, or ("C",)."""
    coefficients: dict[str, float]
    """E; A and alpha; with two variables also B and beta."""
    bootstrap: np.ndarray
    """(draws, coefficients): log E, log A, alpha, (log B, beta) of every resample."""
    parameters: np.ndarray
    """The fit itself, in the same order."""
    residual: float
    """The typical error of log L: 0.01 is one per cent."""
    points: int
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value seen, by variable."""
    largest: float = float("nan")
    """Compute of the largest run, in FLOPs; nan where only N or only D varies."""

    def predict(self, *values: float) -> tuple[float, float, float]:
        """The loss at (N, D) or x with its 95% interval."""
        x = np.log(np.array(values, dtype=float))[:, None]
        draws = np.exp([log_loss(each, x)[0] for each in self.bootstrap])
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(np.exp(log_loss(self.parameters, x)[0])), float(low), float(high)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% bootstrap interval of every coefficient."""
        names = list(self.coefficients)
        values = natural(self.bootstrap)
        return {name: tuple(np.quantile(values[:, place], [0.025, 0.975])) for place, name in enumerate(names)}

    def errors(self) -> dict[str, float]:
        """Bootstrap standard error of every coefficient."""
        return dict(zip(self.coefficients, natural(self.bootstrap).std(axis=0, ddof=1), strict=True))

    def optimum(self, compute: float) -> "Optimum":
        """The size and the data with which a budget of FLOPs buys the lowest loss (their equation 4)."""
        assert len(self.variables) == 2, "needs both N and D"
        best = _optimal(self.parameters[None], compute)[0]
        draws = _optimal(self.bootstrap, compute)
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        return Optimum(compute, *((float(b), float(lo), float(hi)) for b, lo, hi in zip(best, low, high, strict=True)))


@dataclass(frozen=True)
class Optimum:
    """The best use of a budget; every figure with its 95% interval: (value, low, high)."""

    compute: float
    """FLOPs."""
    parameters: tuple[float, float, float]
    samples: tuple[float, float, float]
    loss: tuple[float, float, float]


def budget_curve(law: Law, computes: np.ndarray) -> np.ndarray:
    """(budgets, 3): the lowest loss at each budget in FLOPs, with its interval; for laws of (N, D) or C."""
    if law.variables == ("C",):
        return np.array([law.predict(each) for each in computes])
    return np.array([law.optimum(each).loss for each in computes])


def log_loss(p: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log L at (variables, points) of log values, by log-sum-exp over the terms; `p` is ordered as `Law.parameters`."""
    terms = [np.full(x.shape[1], p[0])]
    terms += [p[1 + 2 * place] - p[2 + 2 * place] * row for place, row in enumerate(x)]
    return np.asarray(logsumexp(np.stack(terms), axis=0))


def natural(p: np.ndarray) -> np.ndarray:
    """(draws, coefficients) with E, A, B in place of their logarithms."""
    values = p.copy()
    values[:, [0, *range(1, p.shape[1], 2)]] = np.exp(np.clip(p[:, [0, *range(1, p.shape[1], 2)]], -700, 700))
    return values


def _optimal(p: np.ndarray, compute: float) -> np.ndarray:
    """(draws, 3): N, D and loss at the optimum of a budget, by their equation 4."""
    log_a, alpha, log_b, beta = p[:, 1], p[:, 2], p[:, 3], p[:, 4]
    log_nd = np.log(compute / FLOPS_PER_PARAMETER_AND_SAMPLE)
    log_g = (np.log(alpha) + log_a - np.log(beta) - log_b) / (alpha + beta)
    log_n = log_g + beta / (alpha + beta) * log_nd
    log_d = log_nd - log_n
    loss = np.exp(p[:, 0]) + np.exp(log_a - alpha * log_n) + np.exp(log_b - beta * log_d)
    return np.stack([np.exp(log_n), np.exp(log_d), loss], axis=1)
