"""Parts have the shares that were asked for, of rows, of classes and of a number's range, whatever the groups."""

import numpy as np
import pytest

from lantu.data.splitting import check_sizes, completed, grouped, strata_of
from lantu.errors import UserError

TRAIN = np.full(200, "train")
NO_STRATA = np.zeros(200, dtype=int)


def test_every_part_has_its_share_of_each_tenth_of_a_number() -> None:
    target = np.exp(np.random.default_rng(0).normal(0, 2, 1000))
    split = completed(np.full(1000, "train"), {"val": 0.2, "test": 0.1}, strata=strata_of(target), seed=0)
    edges = np.quantile(target, np.linspace(0.1, 0.9, 9))
    for part, expected in (("val", 20), ("test", 10)):
        counts = np.bincount(np.searchsorted(edges, target[split == part]), minlength=10)
        assert np.abs(counts - expected).max() <= 1


@pytest.mark.parametrize(("share", "rows"), [(0.13, 30), (0.12, 20), (0.1, 20), (0.125, 30), (0.02, 10)])
def test_groups_of_one_size_give_a_part_the_nearest_number_of_rows(share: float, rows: int) -> None:
    groups = np.arange(200) // 10
    split = grouped(TRAIN, {"val": 0, "test": share}, groups=groups, strata=NO_STRATA, seed=0)
    assert (split == "test").sum() == rows
    assert all(len(set(split[groups == each])) == 1 for each in range(20))


def test_of_several_orders_of_the_groups_the_one_nearest_to_every_share_is_used() -> None:
    random, wanted = np.random.default_rng(1), {"val": 0.2, "test": 0.2}
    groups = random.integers(0, 30, 200)
    strata = (random.random(200) < np.where(groups < 10, 0.8, 0.1)).astype(int)

    def deviation(split: np.ndarray) -> float:
        """By how many rows the parts' classes differ from the shares of them that were asked for."""
        return sum(
            abs(((split == part) & (strata == c)).sum() - 0.2 * (strata == c).sum()) for part in wanted for c in (0, 1)
        )

    found = [deviation(grouped(TRAIN, wanted, groups=groups, strata=strata, seed=seed)) for seed in range(20)]
    # what one order of the groups gives: each time one group in five, at random, for either part
    single = []
    for _ in range(200):
        part = random.permutation(np.repeat(["val", "test", "train"], [6, 6, 18]))
        single.append(deviation(part[groups]))
    assert max(found) < np.quantile(single, 0.2)
    assert np.mean(found) < np.quantile(single, 0.05)


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    groups, wanted = np.where(np.arange(200) < 100, 5, -1), {"val": 0.1, "test": 0.1}
    splits = [grouped(TRAIN, wanted, groups=groups, strata=NO_STRATA, seed=seed) for seed in range(40)]
    for split in splits:
        assert len(set(split[:100])) == 1
        assert [(split[100:] == part).sum() for part in ("val", "test")] == [20, 20]
    assert all(any(split[row] != split[0] for split in splits) for row in range(100, 200))


def test_too_few_groups_are_refused_and_as_many_as_parts_are_not() -> None:
    thirds = np.arange(200) % 3
    split = grouped(TRAIN, {"val": 0.3, "test": 0.3}, groups=thirds, strata=NO_STRATA, seed=0)
    assert {len(set(split[thirds == each])) for each in range(3)} == {1}
    assert set(split) == {"train", "val", "test"}
    with pytest.raises(UserError, match="the rows fall into 2 groups, too few for training and val and test"):
        grouped(TRAIN, {"val": 0.3, "test": 0.3}, groups=thirds % 2, strata=NO_STRATA, seed=0)


def test_two_rows_are_enough_to_train_on_and_one_is_not() -> None:
    wanted = {"val": 0.1, "test": 0.1}
    check_sizes(np.array(["train", "train", "val", "test"]), wanted, unit="rows")
    with pytest.raises(UserError, match="1 of 3 rows are left to train on"):
        check_sizes(np.array(["train", "val", "test"]), wanted, unit="rows")
    with pytest.raises(UserError, match=r"`data\.split\.val=0\.1` of 3 rows leaves nothing in val"):
        check_sizes(np.array(["train", "train", "test"]), wanted, unit="rows")
