"""The backtests of several models on the same days, as a table and as the baselines of a sweep."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lantu.errors import UserError
from lantu.tasks.baselines import Baseline
from lantu.tasks.risk import backtests
from lantu.tasks.risk.volatility import CLASSICAL

TESTS = ("kupiec_p", "christoffersen_p", "dq_p", "es_p")
"""Those whose p value must be above `SIGNIFICANT` for a model to pass."""
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Forecast:
    """What a model said of some days: `var` and `es` (T, levels), as returns."""

    model: str
    var: np.ndarray
    es: np.ndarray


def measured(returns: np.ndarray, var: np.ndarray, es: np.ndarray, *, level: float) -> dict[str, float]:
    """All backtests and scores of one model at one level, over days (T,)."""
    violations = returns < var
    statistic = backtests.acerbi_szekely(returns, var, es, level=level)
    return {
        "violations": float(violations.mean()),
        "kupiec_p": backtests.kupiec(violations, level=level).p,
        "christoffersen_p": backtests.christoffersen(violations).p,
        "conditional_p": backtests.conditional_coverage(violations, level=level).p,
        "dq_p": backtests.dynamic_quantile(returns, var, level=level).p,
        "es_p": backtests.mcneil_frey(returns, var, es).p,
        "acerbi_szekely_z2": statistic,
        "pinball": float(backtests.pinball(returns, var, level=level).mean()),
        "fz0": float(backtests.fz0(returns, var, es, level=level).mean()),
    }


def risk_table(
    series: str, returns: np.ndarray, forecasts: Sequence[Forecast], *, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """A row for each model and level. The first model's pinball loss is compared with that of each other one.

    `passes` says whether no test rejects at 5%: Kupiec, Christoffersen's independence, DQ, and McNeil and Frey's of the
    ES. A test that the days cannot tell (NaN) is no pass. `dm_p` is the p value of Diebold and Mariano's test of equal
    pinball loss, and `dm` its statistic: negative where the first model is better.
    """
    rows = []
    for place, level in enumerate(levels):
        losses = backtests.pinball(returns, forecasts[0].var[:, place], level=level)
        for forecast in forecasts:
            var, es = forecast.var[:, place], forecast.es[:, place]
            found: dict[str, Any] = measured(returns, var, es, level=level)
            test = backtests.diebold_mariano(losses, backtests.pinball(returns, var, level=level))
            rows.append(
                {
                    "series": series, "level": level, "model": forecast.model, "days": len(returns),
                    "expected": level * len(returns), **found, "violations": int((returns < var).sum()),
                    "passes": all(found[each] > SIGNIFICANT for each in TESTS), "dm": test.statistic, "dm_p": test.p,
                }
            )  # fmt: skip
    return rows


def classical_baselines(
    data: Any,
    *,
    levels: tuple[float, ...] = (0.01, 0.05),
    models: Sequence[str] = tuple(CLASSICAL),
    window: int = 1000,
    refit_every: int = 50,
) -> list[Baseline]:
    """The classical models as baselines of a sweep, with the mean pinball loss and FZ0 over the series.

    Args:
        levels: of the VaR.
        models: names in `CLASSICAL`.
        window, refit_every: returns that a GARCH fit sees, and days between two fits.

    Raises:
        UserError: the data are no series of returns.
    """
    if data.spec.get("kind") != "series":
        raise UserError("these baselines are for time series of returns.")
    made = []
    for name in models:
        description, forecast = CLASSICAL[name]
        options = {"window": window, "refit_every": refit_every} if name.startswith(("garch", "gjr")) else {}
        started = time.perf_counter()
        scores: dict[str, list[float]] = {}
        for target in range(len(data.spec["target_names"])):
            values = data.series.values[:, target]
            known = ~np.isnan(values)
            days = (np.cumsum(known) - 1)[data.splits["test"].origins]
            found = forecast(values[known], days, levels=levels, **options)
            for place, level in enumerate(levels):
                kept = measured(values[known][days], found.var[:, place], found.es[:, place], level=level)
                for key in ("pinball", "fz0"):
                    scores.setdefault(f"test/{key}_{100 * level:g}", []).append(kept[key])
        metrics = {key: float(np.mean(each)) for key, each in scores.items()}
        made.append(Baseline(name, description, metrics, time.perf_counter() - started))
    return made
