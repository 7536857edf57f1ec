"""Return on investment: from a configuration's measured speed and cost to money per month.

Every figure is a formula of FORMULAS, printed in the report and the documentation. An assumption is one number, or
[low, likely, high]; then the tornado moves it alone from low to high, and the Monte-Carlo draws it from the
triangular distribution, all of them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lantu.errors import UserError

FORMULAS = {
    "serving cost per thousand": "1000 / (predictions per second x 3600 x utilisation) x server price per hour",
    "value per thousand": "value at the reference quality + value per quality x (quality - reference quality), "
    "the better direction counting up",
    "margin per thousand": "value per thousand - serving cost per thousand",
    "volume in month m": "predictions in the first month x (1 + growth)^(m - 1)",
    "profit in month m": "volume / 1000 x margin per thousand - fixed cost - retraining in that month",
    "investment": "cost of all compared runs + one-off cost",
    "break-even volume": "fixed cost per month / margin per thousand x 1000, in predictions per month",
    "pay-back": "the first month in which the summed profit exceeds the investment",
    "ROI": "(sum of the profits over the horizon - investment) / investment",
    "present value": "sum of the profits, each / (1 + discount)^(m / 12), - investment",
}
UNCERTAIN = (
    "predictions_per_month",
    "growth_per_month",
    "value_per_thousand",
    "value_per_quality",
    "server_per_hour",
    "predictions_per_second",
    "utilisation",
    "fixed_per_month",
    "one_off",
)
REQUIRED = ("predictions_per_month", "value_per_thousand", "server_per_hour", "utilisation", "fixed_per_month")
"""Assumptions that the user must give; they have no defaults."""
LIMITS = {
    "predictions_per_month": (0.0, np.inf),
    "growth_per_month": (-0.999, 10.0),
    "value_per_thousand": (0.0, np.inf),
    "server_per_hour": (0.0, np.inf),
    "utilisation": (0.0, 1.0),
    "fixed_per_month": (0.0, np.inf),
    "one_off": (0.0, np.inf),
    "discount_per_year": (0.0, 10.0),
}
"""The smallest and the largest value that makes sense."""
LONGEST_MONTHS = 600
Draws = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """What the runs say about a configuration."""

    quality: float
    sd: float
    """Standard error of the quality; 0 where it is not known."""
    mode: str
    samples_per_second: float
    usd_to_train: float
    """One run of this configuration."""
    invested: float
    """All runs that were made to find it."""


@dataclass(frozen=True)
class Outlook:
    """What a configuration would earn."""

    likely: dict[str, float]
    """Every figure, with each assumption at its likely value; pay-back in months, nan: not within the horizon."""
    interval: dict[str, tuple[float, float]]
    """5% and 95% points of the Monte-Carlo."""
    chance: float
    """Share of the draws in which the investment comes back within the horizon."""
    tornado: pd.DataFrame
    """By assumption, most telling first: low, high (present value with it there), from_value, to_value."""
    cumulative: np.ndarray
    """(months + 1, 3): likely sum of profits less the investment, and its 5% and 95% points."""


def outlook(measured: Measured, business: Mapping[str, Any], *, draws: int = 2000, seed: int = 0) -> Outlook:
    """Work out the return of one configuration.

    Raises:
        UserError: an assumption is missing or has an impossible value.
    """
    missing = missing_assumptions(business)
    if missing:
        raise UserError(f"a return on investment needs {', '.join(f'business.{name}' for name in missing)}.")
    optional = {name: 0.0 for name in UNCERTAIN if name not in REQUIRED and business.get(name) is None}
    given = {name: value for name, value in business.items() if value is not None}
    business = {"discount_per_year": 0.0, "months": 24, **given, **optional}
    spans = {name: _span(name, business[name]) for name in UNCERTAIN if name != "predictions_per_second"}
    speed = business.get("predictions_per_second")
    spans["predictions_per_second"] = _span("predictions_per_second", speed or measured.samples_per_second)
    random = np.random.default_rng(seed)
    likely = {name: np.array([span[1]]) for name, span in spans.items()} | {"quality": np.array([measured.quality])}
    drawn = {name: _triangular(random, span, draws) for name, span in spans.items()}
    drawn["quality"] = random.normal(measured.quality, measured.sd, draws)
    one, months = _work_out(likely, measured, business)
    many, paths = _work_out(drawn, measured, business)
    rows = []
    for name, (low, _, high) in spans.items():
        if low < high:
            ends = [_work_out({**likely, name: np.array([end])}, measured, business)[0] for end in (low, high)]
            rows.append((name, float(ends[0]["present value"][0]), float(ends[1]["present value"][0]), low, high))
    if measured.sd > 0 and spans["value_per_quality"][2] > 0:
        ends_at = (measured.quality - 2 * measured.sd, measured.quality + 2 * measured.sd)
        ends = [_work_out({**likely, "quality": np.array([end])}, measured, business)[0] for end in ends_at]
        rows.append(("quality", float(ends[0]["present value"][0]), float(ends[1]["present value"][0]), *ends_at))
    tornado = pd.DataFrame(rows, columns=["assumption", "low", "high", "from_value", "to_value"]).set_index(
        "assumption"
    )
    order = (tornado["high"] - tornado["low"]).abs().sort_values(ascending=False).index
    return Outlook(
        likely={name: float(values[0]) for name, values in one.items()},
        interval={name: _quantiles(values) for name, values in many.items()},
        chance=float(np.isfinite(many["pay-back months"]).mean()),
        tornado=tornado.loc[order],
        cumulative=np.column_stack([months[0], np.quantile(paths, 0.05, axis=0), np.quantile(paths, 0.95, axis=0)]),
    )


def missing_assumptions(business: Mapping[str, Any]) -> list[str]:
    """Check every assumption that is given; names those that are still missing.

    Raises:
        UserError: one has an impossible value.
    """
    for name in UNCERTAIN:
        if business.get(name) is not None:
            _span(name, business[name])
    _whole(business, "months", largest=LONGEST_MONTHS)
    _whole(business, "retrain_every_months", largest=LONGEST_MONTHS)
    for name in ("discount_per_year", "reference_quality"):
        if business.get(name) is not None:
            span = _span(name, business[name])
            if span[0] != span[2]:
                raise UserError(f"`business.{name}={business[name]}`: this takes one number.")
    return [name for name in REQUIRED if business.get(name) is None]


def _whole(business: Mapping[str, Any], name: str, *, largest: int) -> None:
    value = business.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise UserError(f"`business.{name}={value}`: this takes a whole number of months from 1 to {largest}.")


def _work_out(a: Draws, measured: Measured, business: Mapping[str, Any]) -> tuple[Draws, np.ndarray]:
    """Every formula, for any number of draws at once; and (draws, months + 1) sums of money."""
    horizon = int(business["months"])
    month = np.arange(1, horizon + 1)
    reference = business.get("reference_quality")
    better = (a["quality"] - (measured.quality if reference is None else float(reference))) * (
        1 if measured.mode == "max" else -1
    )
    serving = 1000 / (a["predictions_per_second"] * 3600 * a["utilisation"]) * a["server_per_hour"]
    value = a["value_per_thousand"] + a["value_per_quality"] * better
    margin = value - serving
    volume = a["predictions_per_month"][:, None] * (1 + a["growth_per_month"][:, None]) ** (month - 1)
    every = business.get("retrain_every_months")
    retraining = np.where(month % int(every) == 0, measured.usd_to_train, 0.0) if every else np.zeros(horizon)
    profit = volume / 1000 * margin[:, None] - a["fixed_per_month"][:, None] - retraining
    invested = measured.invested + a["one_off"]
    total = np.concatenate([np.zeros((len(profit), 1)), np.cumsum(profit, axis=1)], axis=1) - invested[:, None]
    back = total[:, 1:] >= 0
    discount = (1 + float(business["discount_per_year"])) ** (month / 12)
    with np.errstate(all="ignore"):
        figures = {
            "serving cost per thousand": serving,
            "value per thousand": value,
            "margin per thousand": margin,
            "profit in month 1": profit[:, 0],
            "investment": invested,
            "break-even volume": np.where(margin > 0, a["fixed_per_month"] / margin * 1000, np.nan),
            "pay-back months": np.where(back.any(axis=1), back.argmax(axis=1) + 1.0, np.nan),
            "ROI": np.where(invested > 0, total[:, -1] / invested, np.nan),
            "present value": (profit / discount).sum(axis=1) - invested,
        }
    return figures, total


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(np.quantile(known, 0.05)), float(np.quantile(known, 0.95))) if len(known) else (np.nan, np.nan)


def _span(name: str, value: Any) -> tuple[float, float, float]:
    """(low, likely, high) of an assumption."""
    try:
        listed = list(map(float, value)) if isinstance(value, (list, tuple)) else [float(value)]
    except (TypeError, ValueError) as error:
        raise UserError(f"`business.{name}={value}`: this takes a number, or [low, likely, high].") from error
    if not all(map(np.isfinite, listed)):
        raise UserError(f"`business.{name}={value}`: this takes finite numbers.")
    if len(listed) not in (1, 3) or listed != sorted(listed):
        raise UserError(f"`business.{name}={value}`: this takes a number, or three in order: [low, likely, high].")
    positive = ("predictions_per_second", "utilisation")
    if name in positive and not listed[0] > 0:
        raise UserError(f"`business.{name}={value}`: this has to be above zero.")
    if name == "utilisation" and listed[-1] > 1:
        raise UserError(f"`business.utilisation={value}`: a share of the time, from 0 to 1.")
    low, high = LIMITS.get(name, (-np.inf, np.inf))
    if listed[0] < low or listed[-1] > high:
        limits = f"at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
        raise UserError(f"`business.{name}={value}`: this has to be {limits}.")
    return (listed[0], listed[len(listed) // 2], listed[-1])


def _triangular(random: np.random.Generator, span: tuple[float, float, float], draws: int) -> np.ndarray:
    low, likely, high = span
    return random.triangular(low, likely, high, draws) if low < high else np.full(draws, likely)
