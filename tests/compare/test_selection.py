"""The winner's published interval holds its true mean although it was chosen for looking best."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lantu.compare.methods import selection
from lantu.compare.methods.selection import Selected, selected
from lantu.compare.methods.spread_pooling import MOST_FOR_TUKEY, spreads_alike
from lantu.compare.methods.statistics import compare

Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def skewed(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Log-normal noise, standardised: a long tail towards worse (or better) scores."""
    return (np.exp(random.normal(size=size)) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)


NOISES: dict[str, Noise] = {
    "normal": lambda random, size: random.normal(size=size),
    "skewed up": skewed,
    "skewed down": lambda random, size: -skewed(random, size),
    "heavy": lambda random, size: random.standard_t(3, size) / np.sqrt(3),
}


def published(cells: np.ndarray) -> tuple[int, Selected]:
    """The winner and its figure as `compare` publishes them, without the tables that take most of its time.

    Args:
        cells: scores (groups, seeds), less is better; no two groups share a seed.
    """
    order = np.argsort(cells.mean(axis=1), kind="stable")
    pooled = 3 <= len(cells) <= MOST_FOR_TUKEY and stats.bartlett(*cells).pvalue >= 0.1
    scores = list(cells[order])
    shared = pooled or spreads_alike(scores)
    return int(order[0]), selected(scores, winner=0, mode="min", level=0.95, shared=shared)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("groups", [2, 5, 20, 100])
def test_the_simulations_look_at_what_compare_publishes(noise: str, groups: int) -> None:
    for seed in range(2):
        cells = NOISES[noise](np.random.default_rng(seed), (groups, 5))
        group = pd.Series(np.repeat([f"g{place}" for place in range(groups)], 5))
        found = compare(
            pd.Series(cells.ravel()), group, pd.Series([str(each) for each in range(cells.size)]), mode="min"
        )
        winner, quick = published(cells)
        row = found.table.loc[found.winner]
        assert found.winner == f"g{winner}"
        assert (row["low"], row["high"]) == pytest.approx((quick.low, quick.high), rel=1e-9)
        assert found.corrected == pytest.approx(quick.mean, rel=1e-9)


def coverage(noise: Noise, *, groups: int, seeds: int, sweeps: int, apart: float = 0.0) -> float:
    """The share of simulated sweeps whose winner's interval holds its true mean."""
    random, inside = np.random.default_rng(1), 0
    truth = apart * np.arange(groups)
    for _ in range(sweeps):
        winner, found = published(noise(random, (groups, seeds)) + truth[:, None])
        inside += found.low < truth[winner] < found.high
    return inside / sweeps


@pytest.mark.parametrize("noise", ["normal", "skewed up"])
@pytest.mark.parametrize("groups", [2, 20])
def test_the_winner_of_equal_configurations_is_covered(
    noise: str, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "DRAWS", 400)
    assert coverage(NOISES[noise], groups=groups, seeds=5, sweeps=80) >= 0.86  # 0.93, less three standard errors


@pytest.mark.parametrize("groups", [2, 20])
def test_more_is_better_is_less_is_better_with_the_sign_turned(groups: int) -> None:
    """So the simulations need one of the two: noise that is skewed up for one is skewed down for the other."""
    cells = skewed(np.random.default_rng(4), (groups, 5)) + np.arange(groups)[:, None] / 2
    group = pd.Series(np.repeat([f"g{place}" for place in range(groups)], 5))
    seed = pd.Series([str(each) for each in range(groups * 5)])
    less = compare(pd.Series(cells.ravel()), group, seed, mode="min")
    more = compare(pd.Series(-cells.ravel()), group, seed, mode="max")
    assert less.winner == more.winner
    row, turned = less.table.loc[less.winner], more.table.loc[more.winner]
    assert (row["low"], row["high"]) == pytest.approx((-turned["high"], -turned["low"]))
    assert less.corrected == pytest.approx(-more.corrected)


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("groups", [2, 5, 20, 100])
@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_coverage_stays_within_two_points_of_nominal(noise: str, groups: int, apart: float) -> None:
    sweeps = 400 if groups < 100 else 150
    found = coverage(NOISES[noise], groups=groups, seeds=5, sweeps=sweeps, apart=apart)
    assert found >= 0.93 - 2 * np.sqrt(0.05 * 0.95 / sweeps)


def test_the_corrected_mean_is_nearer_to_the_truth_than_the_measured_one() -> None:
    random, measured, corrected = np.random.default_rng(2), 0.0, 0.0
    for _ in range(30):
        cells = random.normal(size=(20, 4))
        winner, found = published(cells)
        measured += abs(cells[winner].mean())
        corrected += abs(found.mean)
    assert corrected < 0.5 * measured


def test_a_clear_winner_is_hardly_corrected() -> None:
    random = np.random.default_rng(3)
    cells = random.normal(0, 0.01, (10, 5)) + np.arange(10)[:, None]
    group = pd.Series(np.repeat([f"g{place}" for place in range(10)], 5))
    found = compare(pd.Series(cells.ravel()), group, pd.Series([str(each) for each in range(50)]), mode="min")
    assert found.corrected == pytest.approx(found.table["mean"].iloc[0], abs=0.003)


@pytest.mark.parametrize("shared", [True, False])
def test_scores_in_another_unit_are_corrected_by_as_much_in_that_unit(shared: bool) -> None:
    random = np.random.default_rng(2)
    scores = [place / 3 + random.normal(size=4) * (1 + place) for place in range(6)]
    one = selected(scores, winner=0, mode="min", level=0.95, shared=shared)
    other = selected([1000 * each for each in scores], winner=0, mode="min", level=0.95, shared=shared)
    assert (other.mean, other.low, other.high) == pytest.approx((1000 * one.mean, 1000 * one.low, 1000 * one.high))
