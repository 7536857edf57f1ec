"""The loss of language models by size and data, L(N, D) = E + A / N^alpha + B / D^beta, from published fits.

Hoffmann et al. 2022 ("Training Compute-Optimal Large Language Models", 2203.15556) fitted it to their runs, and
Besiroglu et al. 2024 ("Chinchilla Scaling: A replication attempt", 2404.10102) fitted the same runs again, after an
error in the first fit. Both are nats per token on MassiveText with its 32,000-word tokenizer. Losses on other texts
with other tokenizers differ; which of two sizes is better carries over more than its loss does.

`chinchilla_resamples.csv` has the coefficients of a hundred bootstrap resamples of the same 240 runs, fitted by
`lantu.compare.methods.scaling_fit`; their spread is that of the replication's standard errors. Intervals come from
them.
"""

from functools import cache
from importlib.resources import files
from math import exp, log
from typing import NamedTuple

import numpy as np


class Fit(NamedTuple):
    """Coefficients of a fit."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float


BESIROGLU = Fit(1.8172, 482.01, 2085.43, 0.3478, 0.3658)
HOFFMANN = Fit(1.69, 406.4, 410.7, 0.34, 0.28)


def loss(parameters: float, tokens: float, fit: Fit = BESIROGLU) -> float:
    """Nats per token."""
    return fit.e + fit.a / parameters**fit.alpha + fit.b / tokens**fit.beta


def interval(parameters: float, tokens: float) -> tuple[float, float]:
    """Nats per token, 95 % of the resamples of Besiroglu et al.'s fit: how well the law itself is known."""
    log_e, log_a, alpha, log_b, beta = _resamples().T
    draws = np.exp(log_e) + np.exp(log_a - alpha * log(parameters)) + np.exp(log_b - beta * log(tokens))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


@cache
def _resamples() -> np.ndarray:
    with (files("lantu.planning") / "chinchilla_resamples.csv").open(encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1)


def optimum(flops: float, fit: Fit = BESIROGLU) -> tuple[float, float]:
    """The parameters and tokens with the lowest loss at 6 N D FLOPs (equation 4 of Hoffmann et al.)."""
    g = (fit.alpha * fit.a / (fit.beta * fit.b)) ** (1 / (fit.alpha + fit.beta))
    parameters = g * (flops / 6) ** (fit.beta / (fit.alpha + fit.beta))
    return parameters, flops / 6 / parameters


def tokens_for(wanted: float, parameters: float, fit: Fit = BESIROGLU) -> float | None:
    """The tokens with which so many parameters reach a loss; None: no amount does."""
    left = wanted - fit.e - fit.a / parameters**fit.alpha
    return exp(log(fit.b / left) / fit.beta) if left > 0 else None
