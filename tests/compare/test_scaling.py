"""Scaling laws: published coefficients come back, and runs that identify nothing are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lantu.compare.methods.scaling_fit import Refused, fit
from lantu.compare.methods.scaling_law import Law, budget_curve, effective_samples

HOFFMANN = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}
"""Hoffmann et al. 2022, equation 10."""
BESIROGLU = {
    "E": (1.8172, 0.03),
    "A": (482.01, 124.58),
    "alpha": (0.3478, 0.02),
    "B": (2085.43, 1293.23),
    "beta": (0.3658, 0.02),
}
"""Besiroglu et al. 2024, table 1: estimates and their standard errors."""


def loss_of(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The published law."""
    return HOFFMANN["E"] + HOFFMANN["A"] / n ** HOFFMANN["alpha"] + HOFFMANN["B"] / d ** HOFFMANN["beta"]


@pytest.fixture(scope="module")
def law() -> Law:
    random = np.random.default_rng(0)
    n, d = 10 ** random.uniform(7.5, 10.2, 200), 10 ** random.uniform(8.5, 11.5, 200)
    fitted = fit(loss_of(n, d) * np.exp(random.normal(0, 0.003, 200)), parameters=n, samples=d, draws=60)
    assert isinstance(fitted, Law)
    return fitted


def test_published_runs_give_the_published_coefficients_within_their_errors() -> None:
    runs = pd.read_csv(Path(__file__).with_name("hoffmann_2022_figure_4.csv"), comment="#")
    runs = runs.sort_values("loss").head(len(runs) - 5)
    n, loss = runs["parameters"].to_numpy(), runs["loss"].to_numpy()
    fitted = fit(loss, parameters=n, samples=runs["flops"].to_numpy() / 6 / n, draws=60)
    assert isinstance(fitted, Law)
    assert fitted.points == 240
    for name, (value, error) in BESIROGLU.items():
        assert abs(fitted.coefficients[name] - value) < error, name
    # the replication's point estimates, to the digits that it prints; and its standard errors, roughly
    assert fitted.coefficients["alpha"] == pytest.approx(0.3473, abs=5e-4)
    assert fitted.coefficients["beta"] == pytest.approx(0.3671, abs=5e-4)
    errors = fitted.errors()
    assert errors["alpha"] == pytest.approx(0.0154, rel=0.5)
    assert errors["E"] == pytest.approx(0.026, rel=0.5)


def test_synthetic_runs_give_back_the_law_they_were_made_from(law: Law) -> None:
    for name, value in HOFFMANN.items():
        low, high = law.intervals()[name]
        margin = high - low
        assert low - margin / 2 < value < high + margin / 2, name
    assert law.residual == pytest.approx(0.003, rel=0.3)


def test_the_optimum_is_the_lowest_loss_of_the_budget(law: Law) -> None:
    best = law.optimum(1e22)
    n, d = best.parameters[0], best.samples[0]
    assert 6 * n * d == pytest.approx(1e22)
    elsewhere = [law.predict(n * factor, d / factor)[0] for factor in (0.3, 0.7, 1.5, 3.0)]
    assert min(elsewhere) > best.loss[0]
    assert best.loss[1] < best.loss[0] < best.loss[2]
    assert best.loss[0] == pytest.approx(law.predict(n, d)[0])


def test_more_budget_buys_less_loss_with_less_and_less_return(law: Law) -> None:
    losses = budget_curve(law, np.array([1e20, 1e21, 1e22, 1e23]))[:, 0]
    gains = -np.diff(losses)
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()


def test_one_variable_gives_a_power_law() -> None:
    random = np.random.default_rng(1)
    x = np.repeat(10 ** np.linspace(3, 6, 7), 3)
    fitted = fit((0.2 + 5 / x**0.4) * np.exp(random.normal(0, 0.005, len(x))), parameters=x, samples=np.full(21, 1e4))
    assert isinstance(fitted, Law)
    assert fitted.variables == ("N",)
    assert fitted.coefficients["alpha"] == pytest.approx(0.4, abs=0.05)
    assert fitted.coefficients["E"] == pytest.approx(0.2, abs=0.02)
    value, low, high = fitted.predict(1e7)
    assert low < 0.2 + 5 / 1e7**0.4 < high
    assert low < value < high


@pytest.mark.parametrize(
    ("parameters", "samples", "reason"),
    [
        (np.full(20, 1e6), np.full(20, 1e6), "the same in all runs"),
        (np.geomspace(1e5, 1e8, 20), np.geomspace(1e5, 1e8, 20) * 20, "grow together"),
        (np.geomspace(1e5, 2e5, 20), np.full(20, 1e6), "factor of 2.0"),
        (np.repeat([1e5, 1e8], 10), np.full(20, 1e6), "too few"),
        (np.r_[np.geomspace(1e5, 1e8, 4), [np.nan] * 16], np.tile([1e6, 1e8], 10), "too few"),
    ],
)
def test_runs_that_identify_nothing_are_refused_with_the_reason(
    parameters: np.ndarray, samples: np.ndarray, reason: str
) -> None:
    with np.errstate(all="ignore"):
        refused = fit(1 + 1e3 / parameters**0.5, parameters=parameters, samples=samples)
    assert isinstance(refused, Refused)
    assert reason in refused.reason


def test_a_loss_that_does_not_fall_with_size_is_refused() -> None:
    random = np.random.default_rng(2)
    n = np.repeat(np.geomspace(1e5, 1e8, 6), 3)
    refused = fit(random.uniform(0.3, 0.5, 18), parameters=n)
    assert isinstance(refused, Refused)
    assert "the network" in refused.reason


def test_repeated_epochs_are_worth_less_than_new_data() -> None:
    unique = np.full(4, 1000.0)
    seen = unique * [1, 4, 16.39, 1000]
    found = effective_samples(seen, unique) / unique
    assert found[0] == 1
    assert found[1] == pytest.approx(1 + 15.39 * (1 - np.exp(-3 / 15.39)))  # 3.7: nearly as good as new
    assert found[2] == pytest.approx(1 + 15.39 * (1 - np.exp(-1)))
    assert found[3] == pytest.approx(16.39, abs=0.01)  # no number of repetitions is worth more


def test_runs_without_what_it_takes_are_refused_for_that_reason() -> None:
    nothing = fit(np.array([np.nan, 0.0]), parameters=np.array([1e5, 1e6]), samples=np.array([1e4, 1e4]))
    assert isinstance(nothing, Refused)
    assert "no run has a loss" in nothing.reason
