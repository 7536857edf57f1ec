"""The classical models of market risk, walk-forward: historical simulation, EWMA, and GARCH of the library arch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from lantu.data.series import gjr


@dataclass(frozen=True)
class RiskForecasts:
    """VaR and ES of T days at some levels, each forecast from the days before alone."""

    levels: tuple[float, ...]
    var: np.ndarray
    """(T, levels), returns: negative for a loss."""
    es: np.ndarray
    """(T, levels)."""
    failed_fits: int = 0
    """Refits that did not converge; the parameters before them were kept."""


@dataclass
class _Variance:
    """The variance of the next day, as GJR-GARCH(1,1) has it."""

    omega: float
    alpha: float
    gamma: float
    beta: float
    now: float = 0.0

    def follow(self, past: np.ndarray) -> None:
        """Begin as arch does, with a weighted mean of the first 75 squares, and go through all days."""
        first = past[:75] ** 2
        weights = 0.94 ** np.arange(len(first))
        self.now = float(first @ weights / weights.sum())
        for value in past:
            self.step(value)

    def step(self, residual: float) -> None:
        self.now = self.omega + (self.alpha + self.gamma * (residual < 0)) * residual**2 + self.beta * self.now


def historical_simulation(
    returns: np.ndarray, days: np.ndarray, *, levels: tuple[float, ...], window: int = 250
) -> RiskForecasts:
    """The empirical quantile of the last `window` returns, and the mean of those below it."""
    var, es = np.empty((len(days), len(levels))), np.empty((len(days), len(levels)))
    for place, day in enumerate(days):
        past = returns[max(0, day - window) : day]
        var[place] = np.quantile(past, levels)
        es[place] = [past[past <= each].mean() for each in var[place]]
    return RiskForecasts(levels, var, es)


def ewma(returns: np.ndarray, days: np.ndarray, *, levels: tuple[float, ...], decay: float = 0.94) -> RiskForecasts:
    """Normal, with an exponentially weighted variance (RiskMetrics 1996)."""
    variance = np.empty(len(returns) + 1)
    variance[0] = np.mean(returns[: min(int(days[0]), 250)] ** 2)
    for day, value in enumerate(returns):
        variance[day + 1] = decay * variance[day] + (1 - decay) * value**2
    deviation = np.sqrt(variance[days])[:, None]
    quantiles = scipy.stats.norm.ppf(levels)
    return RiskForecasts(levels, deviation * quantiles, -deviation * scipy.stats.norm.pdf(quantiles) / np.array(levels))


def garch(
    returns: np.ndarray,
    days: np.ndarray,
    *,
    levels: tuple[float, ...],
    distribution: Any = "normal",
    asymmetric: bool = False,
    window: int = 1000,
    refit_every: int = 50,
) -> RiskForecasts:
    """GARCH(1,1) with a constant mean, or GJR-GARCH (Glosten, Jagannathan and Runkle 1993), refitted as days pass.

    Between two fits the parameters stay and the variance goes on with each day's return.

    Args:
        returns: (M,), in percent, which arch's optimizer expects.
        days: which of them to forecast (T,), rising.
        distribution: of the standardised returns, as arch calls it: normal, t or skewt (Hansen 1994).
        asymmetric: whether losses count more than gains of the same size.
        window: returns that a fit sees.
        refit_every: days between two fits.
    """
    var, es = np.empty((len(days), len(levels))), np.empty((len(days), len(levels)))
    failed, kept = 0, None
    for first in range(0, len(days), refit_every):
        block = days[first : first + refit_every]
        past = returns[max(0, block[0] - window) : block[0]]
        fitted = gjr.fit(past, distribution=distribution, asymmetric=asymmetric, asked="task=market_risk")
        if fitted.convergence_flag == 0 or kept is None:
            kept = fitted
        failed += fitted.convergence_flag != 0
        mean = float(kept.params["mu"])
        variance = _Variance(*gjr.coefficients(kept))
        shape = np.asarray(kept.params.iloc[4 + int(asymmetric) :], dtype=float)
        law = kept.model.distribution
        quantiles = np.asarray(law.ppf(np.array(levels), shape))
        tails = np.array([law.partial_moment(1, each, shape) for each in quantiles]) / np.array(levels)
        variance.follow(past - mean)
        place = first
        for day in range(block[0], block[-1] + 1):  # days that are not forecast move the variance too
            if day == days[place]:
                var[place] = mean + np.sqrt(variance.now) * quantiles
                es[place] = mean + np.sqrt(variance.now) * tails
                place += 1
            variance.step(returns[day] - mean)
    return RiskForecasts(levels, var, es, failed)


CLASSICAL: dict[str, tuple[str, Callable[..., RiskForecasts]]] = {
    "historical": ("historical simulation, 250 days", historical_simulation),
    "ewma": ("EWMA, decay 0.94, normal", ewma),
    "garch_n": ("GARCH(1,1), normal", garch),
    "garch_t": ("GARCH(1,1), Student t", lambda *args, **options: garch(*args, distribution="t", **options)),
    "gjr_skewt": (
        "GJR-GARCH(1,1), skewed t",
        lambda *args, **options: garch(*args, distribution="skewt", asymmetric=True, **options),
    ),
}
"""By name: what it is, and what forecasts with it."""
