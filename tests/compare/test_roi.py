"""Return on investment: the formulas, by hand."""

import numpy as np
import pytest

from lantu.compare.compare_command import shipped_business
from lantu.compare.methods.roi import REQUIRED, Measured, missing_assumptions, outlook
from lantu.errors import UserError

BUSINESS = {
    "predictions_per_month": 1_000_000,
    "growth_per_month": 0.0,
    "value_per_thousand": 0.5,
    "reference_quality": None,
    "value_per_quality": 0.0,
    "server_per_hour": 0.36,
    "predictions_per_second": None,
    "utilisation": 0.5,
    "fixed_per_month": 100,
    "one_off": 500,
    "retrain_every_months": None,
    "months": 12,
    "discount_per_year": 0.0,
}
MEASURED = Measured(quality=0.3, sd=0.0, mode="min", samples_per_second=2.0, usd_to_train=10.0, invested=298.0)


def test_the_figures_are_those_of_the_formulas() -> None:
    found = outlook(MEASURED, BUSINESS).likely
    # 2 a second, half of the time: 3,600 predictions an hour for 0.36: 0.10 a thousand
    assert found["serving cost per thousand"] == pytest.approx(0.10)
    assert found["margin per thousand"] == pytest.approx(0.40)
    assert found["profit in month 1"] == pytest.approx(1000 * 0.40 - 100)
    assert found["break-even volume"] == pytest.approx(100 / 0.40 * 1000)
    assert found["investment"] == 798
    assert found["pay-back months"] == 3  # 300 a month: 600, then 900
    assert found["ROI"] == pytest.approx((3600 - 798) / 798)
    assert found["present value"] == pytest.approx(3600 - 798)


def test_growth_discount_and_retraining_count() -> None:
    changed = {**BUSINESS, "growth_per_month": 0.1, "discount_per_year": 0.2, "retrain_every_months": 6}
    volumes = 1000 * 1.1 ** np.arange(12)
    profit = volumes * 0.4 - 100 - np.array([0, 0, 0, 0, 0, 10.0] * 2)
    expected = (profit / 1.2 ** (np.arange(1, 13) / 12)).sum() - 798
    assert outlook(MEASURED, changed).likely["present value"] == pytest.approx(expected)


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_better_quality_earns_more_in_either_direction(mode: str, sign: int) -> None:
    business = {**BUSINESS, "value_per_quality": 2.0, "reference_quality": 0.4}
    measured = Measured(quality=0.3, sd=0.0, mode=mode, samples_per_second=2.0, usd_to_train=10, invested=298)
    assert outlook(measured, business).likely["value per thousand"] == pytest.approx(0.5 + sign * 0.2)


def test_what_never_pays_back_says_so() -> None:
    found = outlook(MEASURED, {**BUSINESS, "value_per_thousand": 0.05})
    assert np.isnan(found.likely["pay-back months"])
    assert np.isnan(found.likely["break-even volume"])
    assert found.chance == 0


def test_the_tornado_moves_one_assumption_at_a_time_and_sorts_by_effect() -> None:
    business = {**BUSINESS, "value_per_thousand": [0.3, 0.5, 0.9], "fixed_per_month": [90, 100, 110]}
    found = outlook(MEASURED, business)
    assert list(found.tornado.index) == ["value_per_thousand", "fixed_per_month"]
    low = outlook(MEASURED, {**BUSINESS, "value_per_thousand": 0.3}).likely["present value"]
    assert found.tornado.loc["value_per_thousand", "low"] == pytest.approx(low)


def test_the_interval_holds_what_is_drawn_and_is_the_same_every_time() -> None:
    business = {**BUSINESS, "value_per_thousand": [0.3, 0.5, 0.7]}
    found = outlook(MEASURED, business, draws=20_000)
    low, high = found.interval["margin per thousand"]
    # a triangular distribution on [0.3, 0.7] has its 5% point at 0.3 + sqrt(0.05 * 0.4 * 0.2)
    assert low == pytest.approx(0.3 + np.sqrt(0.05 * 0.4 * 0.2) - 0.1, abs=0.005)
    assert high == pytest.approx(0.7 - np.sqrt(0.05 * 0.4 * 0.2) - 0.1, abs=0.005)
    assert found.interval == outlook(MEASURED, business, draws=20_000).interval


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("utilisation", 30, "from 0 to 1"),
        ("utilisation", 1.1, "from 0 to 1"),
        ("fixed_per_month", [3, 2, 1], "in order"),
        ("value_per_thousand", "much", "takes a number"),
        ("predictions_per_second", 0.0, "above zero"),
        ("months", 0, "whole number of months"),
        ("months", 2.5, "whole number of months"),
        ("server_per_hour", -1, "at least 0"),
        ("value_per_thousand", [-1, 0, 1], "at least 0"),
        ("growth_per_month", -2, "from -0.999"),
        ("discount_per_year", -1, "from 0"),
        ("predictions_per_month", float("nan"), "finite"),
        ("retrain_every_months", 0, "whole number of months"),
        ("fixed_per_month", None, "needs business.fixed_per_month"),
    ],
)
def test_impossible_assumptions_are_refused(name: str, value: object, said: str) -> None:
    measured = Measured(quality=0.3, sd=0.0, mode="min", samples_per_second=0.0, usd_to_train=10, invested=298)
    measured = MEASURED if name != "predictions_per_second" else measured
    with pytest.raises(UserError, match=said):
        outlook(measured, {**BUSINESS, name: value})


def test_the_shipped_assumptions_are_for_the_user_to_fill_in() -> None:
    missing = missing_assumptions(shipped_business())
    assert missing == [*REQUIRED]
