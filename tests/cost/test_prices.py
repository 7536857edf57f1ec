"""Prices turn hours and energy into money and carbon as their formulas say."""

from pathlib import Path

import pytest
import yaml

import lantu
from lantu.config.locations import shipped_conf
from lantu.cost import Budget, Economics
from lantu.cost.energy import carbon_intensity

FILES = sorted((Path(str(shipped_conf())) / "economics").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_price_list_is_complete_and_can_be_chosen(file: Path) -> None:
    economics = Economics(**yaml.safe_load(file.read_text(encoding="utf-8")))
    assert economics.device_hour("some GPU of tomorrow") >= 0
    assert carbon_intensity(economics.country) > 0
    assert lantu.compose(f"economics={file.stem}").cfg.economics.country == economics.country


def test_the_longest_kind_that_a_name_contains_gives_the_price() -> None:
    prices = Economics(usd_per_device_hour={"L4": 1.0, "L40": 2.0, "gpu": 3.0, "cpu": 0.5})
    assert prices.device_hour("NVIDIA L4") == 1.0
    assert prices.device_hour("NVIDIA L40S") == 2.0
    assert prices.device_hour("NVIDIA GeForce RTX 4090") == 3.0
    assert prices.device_hour("cpu") == 0.5


def test_money_is_hours_times_price_and_energy_times_price() -> None:
    prices = Economics(usd_per_device_hour={"cpu": 2.0}, usd_per_kwh=0.5)
    assert prices.usd(device="cpu", device_hours=3.0, kwh=4.0) == 8.0


def test_a_budget_says_which_limit_was_reached_and_is_silent_before() -> None:
    budget = Budget(usd=2.0, hours=1.0)
    assert budget.exceeded(usd=1.9, kwh=99.0, hours=0.9) is None
    assert "budget.usd=2 was reached" in str(budget.exceeded(usd=2.0, kwh=0.0, hours=0.0))
    assert "budget.hours=1 was reached" in str(budget.exceeded(usd=0.0, kwh=0.0, hours=1.5))


@pytest.mark.parametrize("wrong", [{"usd": 0}, {"kwh": -1.0}, {"hours": -0.1}])
def test_a_budget_of_nothing_is_a_mistake(wrong: dict[str, float]) -> None:
    with pytest.raises(lantu.UserError, match="must be more than 0"):
        Budget(**wrong)


def test_a_country_that_is_not_known_is_answered_in_a_sentence() -> None:
    with pytest.raises(lantu.UserError, match="three letters"):
        Economics(country="Germany")
    with pytest.raises(lantu.UserError, match=r"economics\.country=XYZ"):
        carbon_intensity("XYZ")
