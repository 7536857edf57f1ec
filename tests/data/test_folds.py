"""Cross-validation: every row is tested once, groups stay together, classes keep their shares."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lantu.data import ImageDataModule, TableDataModule, TextDataModule, TokenDataModule, sklearn
from lantu.data.folds import in_folds
from lantu.data.sources import Raw
from lantu.errors import UserError


def raw(count: int = 120, *, published: int = 0) -> Raw:
    rows = pd.DataFrame(
        {
            "number": np.arange(count) + 0.5,
            "patient": np.arange(count) // 6,
            "label": np.where(np.arange(count) % 10 < 7, "well", "ill"),
        }
    )
    split = np.array(["train"] * (count - published) + ["test"] * published)
    return Raw(name="made", rows=rows, split=split)


def rows_tested(made: Raw) -> set[float]:
    return set(made.rows["number"][made.split == "test"])


def test_every_row_is_tested_in_exactly_one_fold() -> None:
    parts = [rows_tested(in_folds(raw(), fold=n, folds=5, target="label", group=None, seed=0)) for n in range(5)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 120
    again = in_folds(raw(), fold=3, folds=5, target="label", group=None, seed=0)
    assert rows_tested(again) == parts[3]
    assert rows_tested(in_folds(raw(), fold=3, folds=5, target="label", group=None, seed=1)) != parts[3]


@pytest.mark.parametrize("group", [None, "patient"])
def test_folds_keep_the_shares_of_the_classes(group: str | None) -> None:
    for fold in range(5):
        made = in_folds(raw(), fold=fold, folds=5, target="label", group=group, seed=0)
        ill = (made.rows["label"][made.split == "test"] == "ill").mean()
        assert ill == pytest.approx(0.3, abs=0.1)


def test_rows_of_a_group_stay_in_one_fold() -> None:
    for fold in range(4):
        made = in_folds(raw(), fold=fold, folds=4, target="label", group="patient", seed=0)
        sides = [set(made.rows["patient"][made.split == part]) for part in ("train", "test")]
        assert not sides[0] & sides[1]


def test_a_published_test_part_is_left_out_and_this_is_said() -> None:
    made = in_folds(raw(published=20), fold=0, folds=5, target="label", group=None, seed=0)
    assert len(made.rows) == 100
    assert any("own test part (20 rows)" in sentence for sentence in made.notes)


def test_numbers_are_spread_over_the_folds_by_their_size() -> None:
    made = in_folds(raw(), fold=0, folds=5, target="number", group=None, seed=0)
    assert np.median(made.rows["number"][made.split == "test"]) == pytest.approx(60, abs=12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fold": 0}, r"add `data\.folds=5`"),
        ({"folds": 5}, r"`-m data\.fold=0,1,2,3,4`"),
        ({"fold": 5, "folds": 5}, r"the numbers are 0,1,2,3,4"),
        ({"fold": 0, "folds": 1}, r"at least 2"),
    ],
)
def test_folds_that_cannot_be_are_a_sentence(options: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ImageDataModule(source=lambda: sklearn("digits"), **options)


def test_more_folds_than_groups_and_running_text_are_a_sentence() -> None:
    with pytest.raises(UserError, match="only 20 groups"):
        in_folds(raw(), fold=0, folds=21, target="label", group="patient", seed=0)
    with pytest.raises(UserError, match="cut into folds"):
        TokenDataModule(path="a.txt", fold=0, folds=5)


@pytest.mark.parametrize("kind", ["images", "table", "texts"])
def test_every_supervised_kind_of_data_can_be_cross_validated(kind: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": [f"word{n} {'good' if n % 2 else 'bad'} film" for n in range(60)], "n": range(60)})
    rows.assign(label=[("bad", "good")[n % 2] for n in range(60)]).to_csv(tmp_path / "a.csv", index=False)
    sizes = []
    for fold in range(3):
        folds = {"fold": fold, "folds": 3, "split": {"val": 0.2}}
        made = {
            "images": lambda: ImageDataModule(source=lambda: sklearn("digits"), cache=str(tmp_path), **folds),  # noqa: B023
            "table": lambda: TableDataModule(path=str(tmp_path / "a.csv"), target="label", **folds),  # noqa: B023
            "texts": lambda: TextDataModule(path=str(tmp_path / "a.csv"), target="label", **folds),  # noqa: B023
        }[kind]()
        made.setup("fit")
        sizes.append(made.report.sizes)
        assert any(f"fold {fold} of 3" in line for line in made.report.lines())
    total = 1797 if kind == "images" else 60
    assert sum(each["test"] for each in sizes) == total
    assert all(set(each) == {"train", "val", "test"} for each in sizes)


def test_folds_are_stratified_by_what_the_target_means_not_by_how_it_is_written() -> None:
    random = np.random.default_rng(0)
    amounts = pd.Series([f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in random.uniform(0, 9e3, 200)])
    spelled = pd.Series(np.where(np.arange(200) % 10 == 0, random.choice(["Yes", "yes ", "YES"], 200), "no"))
    for target, meaning in (
        (amounts, pd.Series([float(text.replace(".", "").replace(",", ".")) for text in amounts])),
        (spelled, spelled.str.strip().str.lower() == "yes"),
    ):
        raw = Raw(name="own", rows=pd.DataFrame({"x": range(200), "y": target}), split=np.full(200, "train"))
        for fold in range(5):
            held_out = in_folds(raw, fold=fold, folds=5, target="y", group=None, seed=0).split == "test"
            assert meaning[held_out].mean() == pytest.approx(meaning.mean(), rel=0.05)
