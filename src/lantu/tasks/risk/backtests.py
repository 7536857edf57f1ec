"""Backtests of value at risk (VaR) and expected shortfall (ES).

All take returns r (T,) and forecasts of the same days, made before them: `var` (T,), the quantile of the return at
`level`, and `es` (T,), the mean return below it. Both are negative where they
are losses. A violation is a day with r < VaR. A p value is NaN where the sample cannot tell.
"""

from dataclasses import dataclass

import numpy as np
import scipy


@dataclass(frozen=True)
class Test:
    """A test's statistic and its p value: how likely a statistic as extreme is if the forecasts are right."""

    statistic: float
    p: float


def kupiec(violations: np.ndarray, *, level: float) -> Test:
    """Unconditional coverage: are there as many violations as there should be (Kupiec 1995)? chi-square, 1 degree.

    Args:
        violations: whether each day was one (T,).
        level: probability of a violation, such as 0.01.
    """
    days, hits = len(violations), int(np.sum(violations))
    if not days:
        return Test(np.nan, np.nan)
    return _likelihood_ratio(_binomial(hits, days, level), _binomial(hits, days, hits / days), degrees=1)


def christoffersen(violations: np.ndarray) -> Test:
    """Independence: is a violation as likely after a violation as after none (Christoffersen 1998)?

    A chi-square test of a first-order Markov chain against independence, with 1 degree of freedom. NaN without any
    violation before the last day, or if every day is one.
    """
    before, after = np.asarray(violations[:-1], bool), np.asarray(violations[1:], bool)
    if not before.any() or before.all():
        return Test(np.nan, np.nan)
    free = sum(_binomial(int(after[state].sum()), int(state.sum()), after[state].mean()) for state in (before, ~before))
    return _likelihood_ratio(_binomial(int(after.sum()), len(after), after.mean()), free, degrees=1)


def conditional_coverage(violations: np.ndarray, *, level: float) -> Test:
    """Coverage and independence together (Christoffersen 1998): the sum of both statistics, 2 degrees of freedom."""
    coverage, independence = kupiec(violations, level=level), christoffersen(violations)
    statistic = coverage.statistic + independence.statistic
    return Test(statistic, float(scipy.stats.chi2.sf(statistic, 2)))


def dynamic_quantile(returns: np.ndarray, var: np.ndarray, *, level: float, lags: int = 4) -> Test:
    """Can violations be predicted from the last ones and from the VaR itself (DQ; Engle and Manganelli 2004)?

    Regresses violations less `level` on a constant, as many lags of themselves and the VaR of the day. The statistic
    is chi-square with `lags` + 2 degrees of freedom.
    """
    hits = (returns < var) - level
    columns = [
        np.ones(len(hits) - lags),
        *(hits[lags - lag : len(hits) - lag] for lag in range(1, lags + 1)),
        var[lags:],
    ]
    x, y = np.column_stack(columns), hits[lags:]
    if len(y) <= x.shape[1] or not (returns < var).any() or np.linalg.matrix_rank(x) < x.shape[1]:
        return Test(np.nan, np.nan)
    coefficients = np.linalg.solve(x.T @ x, x.T @ y)
    statistic = float(coefficients @ x.T @ x @ coefficients / (level * (1 - level)))
    return Test(statistic, float(scipy.stats.chi2.sf(statistic, x.shape[1])))


def mcneil_frey(returns: np.ndarray, var: np.ndarray, es: np.ndarray, *, draws: int = 10_000, seed: int = 0) -> Test:
    """Are losses beyond the VaR larger than the ES says (McNeil and Frey 2000)? One-sided, by bootstrap.

    On the days of violations (r - ES) / |ES| has mean zero if the ES is right, and a negative one if it is too small a
    loss. The statistic is its mean over its standard error. NaN with fewer than 5 violations.
    """
    hit = returns < var
    residuals = (returns[hit] - es[hit]) / np.abs(es[hit])
    if len(residuals) < 5 or np.ptp(residuals) == 0:
        return Test(np.nan, np.nan)
    statistic = _studentised(residuals)
    centred = residuals - residuals.mean()
    drawn = np.random.default_rng(seed).choice(centred, (draws, len(centred)))
    return Test(float(statistic), float(np.mean(_studentised(drawn) <= statistic)))


def acerbi_szekely(returns: np.ndarray, var: np.ndarray, es: np.ndarray, *, level: float) -> float:
    """Z2 of Acerbi and Szekely (2014): 0 expected, negative where losses beyond the VaR are too many or too large.

    They find that at the 2.5% level over 250 days values below -0.70 have a probability of 5%, and below -1.8 of 0.01%,
    whatever the tail. It has no p value without simulating returns from the forecast's distribution.
    """
    return float(1 - np.sum(np.where(returns < var, returns / es, 0.0)) / (len(returns) * level))


def pinball(returns: np.ndarray, var: np.ndarray, *, level: float) -> np.ndarray:
    """The pinball loss of each day (T,): the proper score of a quantile (Koenker and Bassett 1978)."""
    return (level - (returns < var)) * (returns - var)


def fz0(returns: np.ndarray, var: np.ndarray, es: np.ndarray, *, level: float) -> np.ndarray:
    """The joint score of VaR and ES of each day (T,), less is better (Patton, Ziegel and Chen 2019); needs ES < 0."""
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where an ES is not negative
        return -np.where(returns <= var, var - returns, 0.0) / (level * es) + var / es + np.log(-es) - 1


def diebold_mariano(losses: np.ndarray, others: np.ndarray, *, lags: int | None = None) -> Test:
    """Is the mean loss of one forecast another than that of a second (Diebold and Mariano 1995)? Two-sided.

    Args:
        losses, others: of the same days (T,). A negative statistic says that the first is better.
        lags: of the Newey-West variance; None: T^(1/3).

    The statistic has the small-sample correction of Harvey, Leybourne and Newbold (1997), against Student's t.
    """
    difference = np.asarray(losses) - np.asarray(others)
    days = len(difference)
    lags = int(days ** (1 / 3)) if lags is None else lags
    centred = difference - difference.mean()
    variance = centred @ centred / days
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag]) / days
    if not variance > 0:
        return Test(np.nan, np.nan)
    statistic = difference.mean() / np.sqrt(variance / days) * np.sqrt((days - 1) / days)
    return Test(float(statistic), float(2 * scipy.stats.t.sf(abs(statistic), days - 1)))


def _binomial(hits: int, days: int, rate: float) -> float:
    return float(scipy.special.xlogy(hits, rate) + scipy.special.xlogy(days - hits, 1 - rate))


def _likelihood_ratio(restricted: float, free: float, *, degrees: int) -> Test:
    statistic = max(0.0, 2 * (free - restricted))
    return Test(statistic, float(scipy.stats.chi2.sf(statistic, degrees)))


def _studentised(values: np.ndarray) -> np.ndarray:
    deviation = values.std(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, values.mean(axis=-1) / (deviation / np.sqrt(values.shape[-1])), 0.0)
