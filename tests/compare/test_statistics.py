"""The statistics keep the error rates that they claim."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lantu.compare.methods.power import plan, seeds_needed
from lantu.compare.methods.statistics import Comparison, compare, holm, interval, tukey
from lantu.errors import UserError


def measured(cells: np.ndarray, *, shared_seeds: bool = True, **options: object) -> Comparison:
    """Compare a (groups, seeds) array."""
    groups, seeds = cells.shape
    names = [str(each) for each in range(seeds)] if shared_seeds else [str(each) for each in range(cells.size)]
    seed = pd.Series(names * groups if shared_seeds else names)
    group = pd.Series(np.repeat([f"g{place}" for place in range(groups)], seeds))
    return compare(pd.Series(cells.ravel()), group, seed, mode="min", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["own", "auto"])
@pytest.mark.parametrize("shared_seeds", [True, False])
def test_equal_groups_are_told_apart_in_at_most_five_of_a_hundred_sweeps(pooling: str, shared_seeds: bool) -> None:
    random, sweeps = np.random.default_rng(1), 300
    wrong = 0
    for _ in range(sweeps):
        luck = random.normal(0, 2, 4) if shared_seeds else 0
        comparison = measured(random.normal(size=(4, 4)) + luck, shared_seeds=shared_seeds, pooling=pooling)
        wrong += len(comparison.alike) < 4
    assert wrong <= 28  # a rate of 5 % gives more less than once in a thousand times


def test_equal_means_with_unequal_spreads_are_not_told_apart_too_often() -> None:
    random, sweeps, wrong = np.random.default_rng(1), 150, 0
    for _ in range(sweeps):
        spread = np.exp(random.normal(0, 1.2, 6))[:, None]
        wrong += len(measured(random.normal(size=(6, 5)) * spread, pooling="auto").alike) < 6
    assert wrong <= 16


def test_correcting_only_for_the_comparisons_with_the_winner_would_claim_too_much() -> None:
    random, sweeps, honest, naive = np.random.default_rng(2), 200, 0, 0
    for _ in range(sweeps):
        table = measured(random.normal(size=(15, 8)), shared_seeds=False, pooling="own").table
        naive += bool((holm(table["p"].to_numpy()[1:], family=14) < 0.05).any())
        honest += bool((~table["alike"]).any())
    assert naive > 16
    assert honest < 16


def test_intervals_hold_the_true_mean_in_95_of_100() -> None:
    random, inside = np.random.default_rng(3), 0
    for _ in range(1000):
        _, low, high = interval(pd.Series(random.normal(5, 2, 3)))
        inside += low < 5 < high
    assert 925 <= inside <= 970


def test_differences_hold_the_true_difference_in_95_of_100() -> None:
    random, inside = np.random.default_rng(4), 0
    for _ in range(300):
        cells = random.normal(size=(2, 4)) + random.normal(0, 3, 4) + np.array([[0.0], [20.0]])
        row = measured(cells, pooling="own").table.iloc[1]
        inside += row["diff_low"] < 20 < row["diff_high"]
    assert 272 <= inside <= 297


def test_shared_seeds_find_what_unpaired_runs_cannot() -> None:
    random = np.random.default_rng(5)
    cells = random.normal(0, 3, 5) + np.array([[0.0], [1.0]]) + random.normal(0, 0.1, (2, 5))
    assert measured(cells, pooling="own").alike == ["g0"]
    assert len(measured(cells, shared_seeds=False, pooling="own").alike) == 2


def test_a_clear_winner_among_many_is_seen_with_three_seeds() -> None:
    random = np.random.default_rng(6)
    cells = random.normal(0, 0.01, (20, 3)) + np.r_[0.0, np.full(19, 0.1)][:, None]
    assert measured(cells).alike == ["g0"]


def test_numbers_are_those_of_scipy() -> None:
    random = np.random.default_rng(7)
    cells = random.normal(size=(2, 6)) + np.array([[0.0], [1.0]])
    paired = measured(cells, pooling="own").table.iloc[1]
    best, other = sorted(cells, key=np.mean)
    assert paired["p"] == pytest.approx(stats.ttest_rel(best, other).pvalue)
    welch = measured(cells, shared_seeds=False, pooling="own").table.iloc[1]
    assert welch["p"] == pytest.approx(stats.ttest_ind(best, other, equal_var=False).pvalue)
    three = random.normal(size=(3, 5))
    tukey = measured(three, shared_seeds=False, pooling="shared")
    order = [int(name[1]) for name in tukey.table.index]
    reference = stats.tukey_hsd(*three[order]).pvalue[0]
    assert tukey.table["p_corrected"].to_numpy()[1:] == pytest.approx(reference[1:], abs=1e-6)


def test_interpolated_tukey_p_values_are_those_of_scipy() -> None:
    t = np.linspace(0.1, 30, 60)
    exact = stats.studentized_range.sf(t * np.sqrt(2), 30, 58)
    assert tukey(t, 30, 58) == pytest.approx(exact, rel=0.02, abs=1e-5)


def test_one_seed_each_claims_nothing() -> None:
    comparison = measured(np.array([[1.0], [2.0], [3.0]]))
    assert not comparison.tested
    assert comparison.table["p_corrected"].isna().all()
    assert plan(comparison, ("g0", "g1")) is None


def test_runs_without_a_score_are_counted_and_not_averaged() -> None:
    score = pd.Series([1.0, 1.2, np.nan, 2.0, 2.1, 2.2])
    table = compare(score, pd.Series(list("aaabbb")), pd.Series(list("012012")), mode="min").table
    assert (table.loc["a", "seeds"], table.loc["a", "runs"]) == (2, 3)
    assert table.loc["a", "mean"] == pytest.approx(1.1)


def test_proposed_seeds_find_the_difference_as_often_as_promised() -> None:
    seeds = seeds_needed(1.0, 1.0, paired=True)
    assert seeds == 10  # Cohen 1988: t-test for means, one sample, d = 1, 80 %
    random = np.random.default_rng(8)
    found = stats.ttest_1samp(random.normal(1, 1, (4000, 10)), 0, axis=1).pvalue < 0.05
    assert 0.78 < found.mean() < 0.83
    assert seeds_needed(1.0, 1.0, paired=False) == 17
    assert seeds_needed(1e-6, 1.0, paired=True) is None


def test_a_plan_counts_the_missing_runs_and_their_price() -> None:
    cells = np.array([[0.0, 0.1, 0.2], [0.3, 0.2, 0.1]])
    planned = plan(measured(cells), ("g0", "g1"), difference=0.2, usd_per_run={"g0": 1.0, "g1": 3.0})
    assert planned is not None
    assert planned.seeds is not None
    assert planned.more == 2 * (planned.seeds - 3)
    assert planned.usd == (planned.seeds - 3) * 4.0


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UserError, match="pooling=both"):
        measured(np.ones((2, 2)), pooling="both")
