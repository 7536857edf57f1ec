"""The statistics keep the error rates that they claim."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lantu.compare.methods.difference_tests import tukey
from lantu.compare.methods.power import plan, power_of, seeds_needed
from lantu.compare.methods.score_intervals import interval
from lantu.compare.methods.statistics import Comparison, compare
from lantu.compare.methods.stored_predictions import values
from lantu.errors import UserError


def measured(cells: np.ndarray, *, shared_seeds: bool = True, **options: object) -> Comparison:
    """Compare a (groups, seeds) array."""
    groups, seeds = cells.shape
    names = [str(each) for each in range(seeds)] if shared_seeds else [str(each) for each in range(cells.size)]
    seed = pd.Series(names * groups if shared_seeds else names)
    group = pd.Series(np.repeat([f"g{place}" for place in range(groups)], seeds))
    return compare(pd.Series(cells.ravel()), group, seed, mode="min", **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["own", "auto"])
@pytest.mark.parametrize("shared_seeds", [True, False])
def test_equal_groups_are_told_apart_in_at_most_five_of_a_hundred_sweeps(pooling: str, shared_seeds: bool) -> None:
    random, sweeps = np.random.default_rng(1), 100
    wrong = 0
    for _ in range(sweeps):
        luck = random.normal(0, 2, 4) if shared_seeds else 0
        comparison = measured(random.normal(size=(4, 4)) + luck, shared_seeds=shared_seeds, pooling=pooling)
        wrong += len(comparison.alike) < 4
    assert wrong <= 12  # a rate of 5 % gives more less than three times in a thousand


def test_equal_means_with_unequal_spreads_are_not_told_apart_too_often() -> None:
    random, sweeps, wrong = np.random.default_rng(1), 80, 0
    for _ in range(sweeps):
        spread = np.exp(random.normal(0, 1.2, 6))[:, None]
        wrong += len(measured(random.normal(size=(6, 5)) * spread, pooling="auto").alike) < 6
    assert wrong <= 10


@pytest.mark.slow
def test_correcting_only_for_the_comparisons_with_the_winner_would_claim_too_much() -> None:
    random, sweeps, honest, naive = np.random.default_rng(2), 100, 0, 0
    for _ in range(sweeps):
        table = measured(random.normal(size=(15, 8)), shared_seeds=False, pooling="own").table
        naive += bool((table["p"].to_numpy()[1:] < 0.05 / 14).any())
        honest += bool((~table["alike"]).any())
    assert naive > 9
    assert honest < 9


def test_intervals_hold_the_true_mean_in_95_of_100() -> None:
    random, inside = np.random.default_rng(3), 0
    for _ in range(1000):
        _, low, high = interval(pd.Series(random.normal(5, 2, 3)))
        inside += low < 5 < high
    assert 925 <= inside <= 970


def test_intervals_of_differences_hold_all_true_differences_at_once() -> None:
    random, inside = np.random.default_rng(4), 0
    truth = {"g0": 0.0, "g1": 20.0, "g2": 21.0, "g3": 40.0}
    for _ in range(100):
        cells = random.normal(size=(4, 4)) + random.normal(0, 3, 4) + np.array(list(truth.values()))[:, None]
        table = measured(cells, pooling="own").table.iloc[1:]
        true = table.index.map(truth)
        inside += bool(((table["diff_low"] < true) & (true < table["diff_high"])).all())
    assert inside >= 88


@pytest.mark.parametrize("pooling", ["own", "shared"])
@pytest.mark.parametrize("shared_seeds", [True, False])
def test_an_interval_excludes_zero_exactly_where_the_test_finds_a_difference(pooling: str, shared_seeds: bool) -> None:
    random = np.random.default_rng(11)
    for _ in range(15):
        cells = random.normal(size=(5, 4)) + random.normal(0, 1.5, (5, 1))
        table = measured(cells, shared_seeds=shared_seeds, pooling=pooling).table.iloc[1:]
        excludes = (table["diff_low"] > 0) | (table["diff_high"] < 0)
        assert (excludes == (table["p_corrected"] < 0.05)).all()
        assert (excludes == ~table["alike"]).all()


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


def test_several_configurations_with_spreads_of_their_own_are_corrected_by_bonferroni() -> None:
    cells = np.random.default_rng(7).normal(size=(3, 6)) + np.array([[0.0], [0.2], [5.0]])
    table = measured(cells, shared_seeds=False, pooling="own").table
    best, *others = (cells[int(name[1])] for name in table.index)
    p = np.array([stats.ttest_ind(best, each, equal_var=False).pvalue for each in others])
    assert (p[0] * 3 > 0.05) != (p[1] * 3 > 0.05)  # one that is told apart, and one that is not
    assert table["p_corrected"].to_numpy()[1:] == pytest.approx(np.minimum(3 * p, 1))
    assert list(table["alike"]) == [True, *(p * 3 > 0.05)]


def test_the_noise_is_that_of_all_seeds_within_their_configurations() -> None:
    scores = {"a": [0.0, 1.0, 5.0, 2.0], "b": [9.0, 10.0]}
    squares = sum(float(((np.array(each) - np.mean(each)) ** 2).sum()) for each in scores.values())
    assert accuracies(scores).noise == pytest.approx(np.sqrt(squares / (3 + 1)))


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


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("effect", [0.05, 1.0, 10.0])
def test_more_configurations_never_need_fewer_seeds(effect: float, paired: bool) -> None:
    pairs = [groups * (groups - 1) / 2 for groups in (2, 3, 5, 12, 20, 33, 34, 98, 124, 200)]
    needed = [seeds_needed(effect, 1.0, paired=paired, level=1 - 0.05 / each) for each in pairs]
    assert None not in needed
    assert needed == sorted(needed)  # type: ignore[type-var]


def test_seeds_for_many_configurations_are_the_known_numbers() -> None:
    assert seeds_needed(2.0, 1.0, paired=True, level=1 - 0.05 / 190) == 12
    assert seeds_needed(1.0, 1.0, paired=False, level=1 - 0.05 / 66) == 39


def test_power_after_a_correction_for_many_pairs_is_what_a_simulation_finds() -> None:
    found = stats.ttest_1samp(np.random.default_rng(12).normal(2, 1, (40_000, 10)), 0, axis=1).pvalue < 0.05 / 190
    assert power_of(2.0, 10, paired=True, level=1 - 0.05 / 190) == pytest.approx(found.mean(), abs=0.01)


def test_a_plan_counts_the_missing_runs_and_their_price() -> None:
    cells = np.array([[0.0, 0.1, 0.2], [0.3, 0.2, 0.1]])
    planned = plan(measured(cells), ("g0", "g1"), difference=0.2, usd_per_run={"g0": 1.0, "g1": 3.0})
    assert planned is not None
    assert planned.seeds is not None
    assert planned.seeds == seeds_needed(0.2, float(np.diff(cells, axis=0).std(ddof=1)), paired=True)
    assert planned.more == 2 * (planned.seeds - 3)
    assert planned.usd == (planned.seeds - 3) * 4.0


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UserError, match="pooling=both"):
        measured(np.ones((2, 2)), pooling="both")


def accuracies(right: dict[str, list[float]], **options: object) -> Comparison:
    """Compare groups of scores where more is better; seeds are numbered from 0 in each group."""
    group = pd.Series([name for name, scores in right.items() for _ in scores])
    seed = pd.Series([str(place) for scores in right.values() for place in range(len(scores))])
    score = pd.Series([score for scores in right.values() for score in scores])
    return compare(score, group, seed, mode="max", **options)  # type: ignore[arg-type]


def test_nothing_is_tested_without_variance() -> None:
    found = accuracies({"A": [84 / 85] * 3, "B": [83 / 85] * 3})
    assert not found.tested
    assert found.without_spread
    assert found.table["p_corrected"].isna().all()
    assert found.alike == ["A", "B"]


def test_one_more_right_of_85_is_no_difference_and_many_of_ten_thousand_are() -> None:
    few = accuracies({"A": [84 / 85] * 3, "B": [83 / 85] * 3}, examples=Shares({"A": 84 / 85, "B": 83 / 85}, 85))
    assert few.tested
    assert few.alike == ["A", "B"]
    many = accuracies({"A": [0.9] * 3, "B": [0.85] * 3}, examples=Shares({"A": 0.9, "B": 0.85}, 10_000))
    assert many.alike == ["A"]


def test_the_finite_set_of_examples_widens_intervals() -> None:
    scores = {"A": [0.90, 0.91, 0.92], "B": [0.80, 0.82, 0.81]}
    alone = accuracies(scores, pooling="own").table
    joint = accuracies(scores, pooling="own", examples=Shares({"A": 0.91, "B": 0.81}, 100)).table
    assert (joint["high"] - joint["low"] > alone["high"] - alone["low"]).all()
    assert joint.loc["B", "p_corrected"] > alone.loc["B", "p_corrected"]


@pytest.mark.parametrize("pooling", ["own", "shared"])
def test_the_examples_variance_is_added_to_that_over_seeds(pooling: str) -> None:
    scores = {"A": [0.90, 0.91, 0.95], "B": [0.80, 0.82, 0.86], "C": [0.70, 0.71, 0.75]}
    examples = Shares({"A": 0.92, "B": 0.83, "C": 0.72}, 400)
    score = pd.Series([score for each in scores.values() for score in each])
    group, seed = pd.Series(list("AAABBBCCC")), pd.Series(list("012345678"))
    row = compare(score, group, seed, mode="max", pooling=pooling, examples=examples).table.loc["C"]
    a, c = np.array(scores["A"]), np.array(scores["C"])
    seeds = (a.var(ddof=1) + c.var(ddof=1)) / 3
    freedom = seeds**2 / ((a.var(ddof=1) / 3) ** 2 / 2 + (c.var(ddof=1) / 3) ** 2 / 2)
    if pooling == "shared":
        seeds = 2 / 3 * float(np.mean([np.var(each, ddof=1) for each in scores.values()]))
    variance = seeds + examples.error_between("A", "C") ** 2
    # Welch and Satterthwaite, the examples' part being known; Tukey's test keeps the degrees of freedom of the seeds
    freedom = freedom * (variance / seeds) ** 2 if pooling == "own" else 6
    assert row["difference"] == pytest.approx(c.mean() - a.mean())
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(c.mean() - a.mean()) / np.sqrt(variance), freedom))


class Shares:
    """The examples' part where scores are shares of right answers."""

    def __init__(self, share: dict[str, float], number: int) -> None:
        self._variance = {name: value * (1 - value) / number for name, value in share.items()}

    def error(self, group: str) -> float:
        return float(np.sqrt(self._variance[group]))

    def error_between(self, group: str, other: str) -> float:
        return float(np.sqrt(self._variance[group] + self._variance[other]))


class KnownOfTwo(Shares):
    """Predictions of C are not known."""

    def error(self, group: str) -> float:
        return float("nan") if group == "C" else super().error(group)

    def error_between(self, group: str, other: str) -> float:
        return float("nan") if "C" in (group, other) else super().error_between(group, other)


@pytest.mark.parametrize("pooling", ["own", "shared"])
def test_a_group_without_stored_predictions_is_not_tested_more_sharply(pooling: str) -> None:
    scores = {"A": [0.90, 0.901, 0.902], "B": [0.89, 0.891, 0.892], "C": [0.88, 0.881, 0.882]}
    found = accuracies(scores, pooling=pooling, examples=KnownOfTwo({"A": 0.901, "B": 0.891}, 100))
    assert found.alike == ["A", "B", "C"]
    assert accuracies(scores, pooling=pooling).alike == ["A"]


def test_failed_runs_are_counted_and_their_scores_are_not() -> None:
    score = pd.Series([0.1, 0.1, 0.5, 0.51, 0.52, 0.9, 0.9])
    group, seed = pd.Series(list("aaaaabb")), pd.Series(list("0123401"))
    failed = pd.Series([True, True, False, False, False, True, True])
    found = compare(score, group, seed, mode="min", failed=failed)
    assert found.table.loc["a", ["seeds", "failed", "runs"]].tolist() == [3, 2, 5]
    assert found.table.loc["a", "mean"] == pytest.approx(0.51)
    assert found.table.loc["b", ["seeds", "failed"]].tolist() == [0, 2]  # it stays in the table
    assert found.table.index.tolist() == ["a", "b"]
    assert found.alike == ["a"]


def test_pairing_does_not_throw_runs_away() -> None:
    random = np.random.default_rng(13)
    group = pd.Series(["a"] * 8 + ["b"] * 2)
    seed = pd.Series([str(each) for each in [*range(8), 0, 1]])
    found = compare(pd.Series(random.normal(size=10)), group, seed, mode="min", pooling="own").table
    assert found["how"].iloc[1] == "Welch"
    assert found["difference"].iloc[1] == pytest.approx(found["mean"].iloc[1] - found["mean"].iloc[0])
    eight = accuracies({"a": list(random.normal(size=8)), "b": list(random.normal(size=7))}, pooling="own")
    assert eight.table["how"].iloc[1] == "paired"


def test_a_group_that_is_ahead_over_the_shared_seeds_is_not_called_worse() -> None:
    score = pd.Series([1.0, 1.01, 1.02, 0.0, 0.9, 0.911, 0.919])
    found = compare(score, pd.Series(list("aaaabbb")), pd.Series(list("0123012")), mode="min")
    assert (found.winner, found.alike) == ("a", ["a", "b"])
    assert found.table.loc["b", "p"] == pytest.approx(stats.ttest_ind(score[:4], score[4:], equal_var=False).pvalue)


def test_planned_seeds_reach_their_power_beside_the_finite_set_of_examples() -> None:
    needed, gap, noise, examples = seeds_needed(0.02, 0.01, paired=True, examples=0.006), 0.02, 0.01, 0.006
    assert needed is not None
    assert needed > (seeds_needed(gap, noise, paired=True) or 0)
    random = np.random.default_rng(15)
    gaps = random.normal(gap, noise, (40_000, needed)) + random.normal(0, examples, (40_000, 1))
    over_seeds = gaps.var(axis=1, ddof=1) / needed
    variance = over_seeds + examples**2
    p = stats.t.sf(np.abs(gaps.mean(axis=1)) / np.sqrt(variance), (needed - 1) * (variance / over_seeds) ** 2) * 2
    assert 0.77 < np.mean(p < 0.05) < 0.87


def test_no_seeds_are_planned_where_the_examples_hide_the_difference() -> None:
    few = Shares({"A": 0.91, "B": 0.90}, 100)
    found = accuracies({"A": [0.90, 0.91, 0.92], "B": [0.89, 0.90, 0.91]}, examples=few)
    planned = plan(found, ("A", "B"))
    assert planned is not None
    assert planned.needs_examples
    assert planned.seeds is None


@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_the_error_of_r2_over_examples_is_that_of_a_bootstrap(noise: float) -> None:
    random = np.random.default_rng(16)
    target = random.normal(size=1000)
    prediction = target + random.normal(0, noise, 1000)
    found = values(pd.DataFrame({"target": target, "prediction": prediction}), "val/r2")
    assert found is not None

    def r2(rows: np.ndarray) -> float:
        return float(1 - np.mean((prediction[rows] - target[rows]) ** 2) / np.var(target[rows]))

    drawn = [r2(random.integers(0, 1000, 1000)) for _ in range(1000)]
    assert found.mean() == pytest.approx(r2(np.arange(1000)))
    assert found.std() / np.sqrt(1000) == pytest.approx(np.std(drawn), rel=0.12)
