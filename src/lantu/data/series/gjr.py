"""GJR-GARCH(1,1) by the library arch (Glosten, Jagannathan and Runkle 1993)."""

import warnings
from typing import Any

import numpy as np

from lantu.errors import UserError
from lantu.extras import require

FRACTIONS = 0.05
"""Deviation below which returns are not in percent: those of an index are about 1, of a currency 0.5."""


def fit(returns: np.ndarray, *, distribution: Any = "skewt", asymmetric: bool = True, asked: str) -> Any:
    """Fit with a constant mean; gives arch's result, whose `convergence_flag` is 0 if the optimizer converged.

    Args:
        returns: (T,), in percent, which arch's optimizer expects.
        distribution: of the standardised returns, as arch calls it: normal, t or skewt (Hansen 1994).
        asymmetric: whether losses count more than gains of the same size; False: GARCH.
        asked: the option that needs arch, for the error if it is not installed.
    """
    require("arch", asked, "finance")
    deviation = float(np.std(returns))
    if deviation < FRACTIONS:
        raise UserError(
            f"`{asked}`: GARCH is fitted to returns in percent, and these deviate by {deviation:.2g}, as fractions do. "
            "Multiply them by 100, or give prices with `data.transform=log_return`."
        )
    from arch import arch_model

    model = arch_model(returns, mean="Constant", vol="GARCH", p=1, o=int(asymmetric), q=1, dist=distribution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(disp="off", show_warning=False)


def coefficients(fitted: Any) -> tuple[float, float, float, float]:
    """omega, alpha, gamma and beta of a fit."""
    omega, alpha, gamma, beta = (
        float(fitted.params.get(name, 0.0)) for name in ("omega", "alpha[1]", "gamma[1]", "beta[1]")
    )
    return omega, alpha, gamma, beta


def variance_after(residuals: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """The variance (N, columns) of the step after each window, begun with the window's mean square.

    Args:
        residuals: (N, L, columns), returns without their mean.
        coefficients: omega, alpha, gamma and beta of each (N, columns, 4).
    """
    omega, alpha, gamma, beta = np.moveaxis(coefficients, -1, 0)
    squares = residuals**2
    variance = squares.mean(axis=1)
    for step in range(residuals.shape[1]):
        news = alpha + gamma * (residuals[:, step] < 0)
        variance = omega + news * squares[:, step] + beta * variance
    return variance
