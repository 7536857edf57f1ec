"""Who is not beaten, and what mattered, on made data with a known truth."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from lantu.compare.methods.groups import Groups
from lantu.compare.methods.importance import importance
from lantu.compare.methods.pareto import cheapest_alike, front, hypervolume, knee
from lantu.compare.methods.statistics import compare


def test_the_front_is_what_nothing_beats() -> None:
    points = pd.DataFrame({"val/loss": [1, 2, 3, 2, 1.5, np.nan], "cost/usd": [9, 4, 1, 5, 9, 0]}, index=list("abcdef"))
    assert list(points.index[front(points)]) == ["a", "b", "c"]


def test_accuracy_counts_up_and_equal_points_share_the_front() -> None:
    points = pd.DataFrame({"val/accuracy": [0.9, 0.8, 0.9, 0.7], "cost/usd": [2.0, 1.0, 2.0, 1.5]})
    assert front(points).tolist() == [True, True, True, False]


def test_two_and_more_columns_agree_with_a_search_by_hand() -> None:
    random = np.random.default_rng(0)
    for columns in (2, 3):
        cells = random.integers(0, 8, (60, columns)).astype(float)
        points = pd.DataFrame(cells, columns=[f"loss{place}" for place in range(columns)])
        by_hand = [not any((o <= p).all() and (o < p).any() for o in cells) for p in cells]
        assert front(points).tolist() == by_hand


def cheapest(score: list[float], cost: list[float], *, groups: str) -> str | None:
    """The cheapest group of runs with shared seeds, each spread by itself."""
    group = pd.Series(list(groups))
    seed = group.groupby(group).cumcount().astype(str)
    comparison = compare(pd.Series(score), group, seed, mode="min", pooling="own")
    return cheapest_alike(comparison, pd.Series(cost, dtype=float), group)


def test_the_cheapest_within_noise_is_not_the_cheapest_of_all() -> None:
    score = [0.30, 0.31, 0.29, 0.305, 0.30, 0.295, 0.9, 0.91, 0.89]
    assert cheapest(score, [10] * 3 + [2] * 3 + [1] * 3, groups="aaabbbccc") == "b"
    assert cheapest(score, [np.nan] * 9, groups="aaabbbccc") is None


def test_what_is_clearly_worse_is_not_as_good_for_want_of_seeds() -> None:
    score = [0.10, 0.30, 0.20, 0.21, 0.60, 0.61]
    assert cheapest(score, [10, 10, 2, 2, 1, 1], groups="aabbcc") == "b"


def test_a_cost_that_is_lower_by_chance_is_not_lower() -> None:
    score = [0.30, 0.31, 0.29, 0.305, 0.30, 0.295]
    assert cheapest(score, [3, 1, 5, 2, 4, 1], groups="aaabbb") == "a"
    assert cheapest(score, [3.0, 3.1, 2.9, 2.0, 2.1, 1.9], groups="aaabbb") == "b"


def made(
    loss: Callable[[pd.DataFrame, np.random.Generator], pd.Series], *, number: int = 60
) -> tuple[pd.Series, Groups]:
    random = np.random.default_rng(0)
    settings = pd.DataFrame(
        {
            "optimizer.lr": 10 ** random.uniform(-5, -1, number),
            "choices.model": random.choice(["cnn", "mlp"], number),
            "model.width": random.choice([32.0, 64.0, 128.0], number),
        },
        index=[f"g{place}" for place in range(number)],
    )
    empty = pd.Series(dtype=object)
    return loss(settings, random), Groups(empty, settings, {}, empty, {})


def test_what_mattered_is_found_by_every_method() -> None:
    score, groups = made(lambda s, random: (np.log10(s["optimizer.lr"]) + 3) ** 2 + random.normal(0, 0.05, len(s)))
    found = importance(score, groups, mode="min")
    assert found.refused is None
    assert found.table.index[0] == "optimizer.lr"
    assert found.table["fanova"].idxmax() == found.table["ped_anova"].idxmax() == "optimizer.lr"
    assert found.table.loc["optimizer.lr", "permutation_low"] > 0.8
    assert found.explained > 0.8


def test_an_interaction_is_named() -> None:
    score, groups = made(
        lambda s, random: np.where(s["choices.model"] == "cnn", 1, -1) * (np.log10(s["optimizer.lr"]) + 3), number=120
    )
    found = importance(pd.Series(score, index=groups.settings.index), groups, mode="min")
    assert set(found.interactions.iloc[0][["first", "second"]]) == {"choices.model", "optimizer.lr"}
    assert found.interactions["share"].iloc[0] > 0.5
    assert found.interactions["share"].iloc[1] < 0.1


def test_noise_alone_is_given_no_reasons() -> None:
    score, groups = made(lambda s, random: pd.Series(random.normal(size=len(s)), index=s.index))
    assert "do not predict" in str(importance(score, groups, mode="min").refused)


@pytest.mark.parametrize("number", [3, 7])
def test_few_configurations_are_given_no_reasons(number: int) -> None:
    score, groups = made(lambda s, random: np.log10(s["optimizer.lr"]), number=number)
    assert "too few" in str(importance(score, groups, mode="min").refused)


def test_a_setting_that_some_configurations_lack_is_a_level_of_its_own() -> None:
    random = np.random.default_rng(1)
    model = random.choice(["tree", "mlp"], 40)
    settings = pd.DataFrame(
        {
            "choices.model": model,
            "model.activation": np.where(model == "mlp", random.choice(["relu", "tanh"], 40), None),
            "model.depth": np.where(model == "tree", random.integers(1, 9, 40), np.nan),
        },
        index=[f"g{place}" for place in range(40)],
    )
    score = pd.Series((model == "tree") + random.normal(0, 0.05, 40), index=settings.index)
    empty = pd.Series(dtype=object)
    found = importance(score, Groups(empty, settings, {}, empty, {}), mode="min")
    assert found.refused is None
    assert set(found.table.index) == set(settings)


def test_a_configuration_whose_seeds_failed_is_not_the_cheap_alternative() -> None:
    score = pd.Series([0.30, 0.31, 0.29, 0.305, 0.30, np.nan])
    group, seed = pd.Series(list("aaabbb")), pd.Series(list("012012"))
    failed = pd.Series([False] * 5 + [True])
    comparison = compare(score, group, seed, mode="min", pooling="own", failed=failed)
    assert cheapest_alike(comparison, pd.Series([10.0, 10, 10, 2, 2, 2]), group) == "a"


def test_the_hypervolume_and_the_knee_of_a_front_are_those_by_hand() -> None:
    points = pd.DataFrame({"val/loss": [0.0, 0.2, 1.0], "cost/usd": [1.0, 0.2, 0.0]}, index=["a", "b", "c"])
    # of the unit square, b dominates 0.8 by 0.8; a and c lie in its corners
    assert hypervolume(points) == pytest.approx(0.64)
    assert knee(points) == "b"
    assert knee(points.assign(**{"cost/usd": [1.0, 0.8, 0.0]})) is None  # on the straight line: no knee
    cube = pd.DataFrame({"val/loss": [0.0, 1.0, 0.5], "cost/usd": [1.0, 0.0, 0.5], "cost/kwh": [1.0, 1.0, 0.0]})
    assert hypervolume(cube) == pytest.approx(0.5 * 0.5 * 1.0)
    assert hypervolume(points.assign(**{"val/accuracy": 0.5})[["val/accuracy"]]) == pytest.approx(1.0)
