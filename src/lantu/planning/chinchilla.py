"""The loss of language models by size and data, L(N, D) = E + A / N^alpha + B / D^beta, from published fits.

Hoffmann et al. 2022 ("Training Compute-Optimal Large Language Models", 2203.15556) fitted it to their runs, and
Besiroglu et al. 2024 ("Chinchilla Scaling: A replication attempt", 2404.10102) fitted the same runs again, after an
error in the first fit. Both are nats per token on MassiveText with its 32,000-word tokenizer. Losses on other texts
with other tokenizers differ; which of two sizes is better carries over more than its loss does.
`lantu compare` fits the law to runs of your own.
"""

from math import exp, log
from typing import NamedTuple


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


def optimum(flops: float, fit: Fit = BESIROGLU) -> tuple[float, float]:
    """The parameters and tokens with the lowest loss at 6 N D FLOPs (equation 4 of Hoffmann et al.)."""
    g = (fit.alpha * fit.a / (fit.beta * fit.b)) ** (1 / (fit.alpha + fit.beta))
    parameters = g * (flops / 6) ** (fit.beta / (fit.alpha + fit.beta))
    return parameters, flops / 6 / parameters


def tokens_for(wanted: float, parameters: float, fit: Fit = BESIROGLU) -> float | None:
    """The tokens with which so many parameters reach a loss; None: no amount does."""
    left = wanted - fit.e - fit.a / parameters**fit.alpha
    return exp(log(fit.b / left) / fit.beta) if left > 0 else None
