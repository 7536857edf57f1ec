"""Tables: what is found, cleaned, split, standardised and reported."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from lantu.data import TableDataModule
from lantu.data.splitting import completed, shares, strata_of
from lantu.errors import UserError
from tests.conftest import REPO


def module(folder: Path, rows: pd.DataFrame, *, ending: str = ".csv", **options: Any) -> TableDataModule:
    path = folder / f"table{ending}"
    {".csv": lambda: rows.to_csv(path, index=False), ".parquet": lambda: rows.to_parquet(path, index=False),
     ".jsonl": lambda: rows.to_json(path, orient="records", lines=True)}[ending]()  # fmt: skip
    made = TableDataModule(path=str(path), **{"target": "y", **options})
    made.setup("fit")
    return made


def table(count: int = 400, *, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(10, 5, count)
    kind = random.choice(["a", "b", "c"], count)
    return pd.DataFrame({"x": x, "kind": kind, "y": np.where(x > 12, "yes", "no")})


def test_inputs_are_standardised_by_the_training_rows_alone(tmp_path: Path) -> None:
    made = module(tmp_path, table())
    x = made.splits["train"].x[:, 0]
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)
    assert float(x.std(unbiased=False)) == pytest.approx(1, abs=1e-5)
    assert abs(float(made.splits["test"].x[:, 0].mean())) > 1e-4


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_every_ending_gives_the_same_examples(tmp_path: Path, ending: str) -> None:
    made = module(tmp_path, table().round(6), ending=ending)
    reference = module(tmp_path, table().round(6))
    assert torch.allclose(made.splits["train"].x, reference.splits["train"].x)
    assert made.spec["feature_names"] == ["x", "kind=a", "kind=b", "kind=c"]
    assert made.spec["class_names"] == ["no", "yes"]


def test_splits_share_out_every_row_once_and_every_class_evenly(tmp_path: Path) -> None:
    rows = table(1000)
    made = module(tmp_path, rows, split={"val": 0.2, "test": 0.1})
    assert made.report.sizes == {"train": 700, "val": 200, "test": 100}
    share = (rows["y"] == "yes").mean()
    for name, size in made.report.sizes.items():
        assert abs(int(made.splits[name].y.sum()) - share * size) <= 1.5
    together = torch.cat([made.splits[name].x for name in made.splits])
    assert len(torch.unique(together, dim=0)) == 1000


def test_the_usual_test_share_is_a_tenth_and_of_own_tables_a_fifth() -> None:
    rows, strata = np.repeat("train", 1000), strata_of(pd.Series(["a", "b"] * 500))
    parts = completed(rows, shares(None), strata=strata, seed=0)
    assert [int((parts == name).sum()) for name in ("train", "val", "test")] == [800, 100, 100]
    of_own_tables = OmegaConf.load(REPO / "conf" / "data" / "csv.yaml").split
    parts = completed(rows, shares(dict(of_own_tables)), strata=strata, seed=0)
    assert [int((parts == name).sum()) for name in ("train", "val", "test")] == [700, 100, 200]


def test_a_class_of_one_row_and_a_quantity_are_split_too() -> None:
    split = np.repeat("train", 101)
    lonely = completed(split, {"val": 0.1, "test": 0.1}, strata=np.array([1] + [0] * 100), seed=0)
    assert {name: int((lonely == name).sum()) for name in ("val", "test")} == {"val": 10, "test": 10}
    prices = np.random.default_rng(0).lognormal(size=1000)
    parts = completed(np.repeat("train", 1000), {"val": 0.0, "test": 0.2}, strata=strata_of(prices), seed=3)
    assert prices[parts == "test"].mean() == pytest.approx(prices.mean(), rel=0.2)


def test_the_split_follows_its_seed_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = module(tmp_path, table())
    torch.manual_seed(2)
    again = module(tmp_path, table())
    other = module(tmp_path, table(), split_seed=1)
    assert first.fingerprints == again.fingerprints
    assert first.fingerprints != other.fingerprints


def test_what_is_cleaned_is_counted_and_said(tmp_path: Path) -> None:
    rows = table(200)
    rows["same"] = 1
    rows["note"] = [f"free text {number}" for number in range(200)]
    rows.loc[:9, "x"] = np.nan
    rows.loc[10:12, "x"] = np.inf
    rows.loc[150:154, "y"] = np.nan
    rows = pd.concat([rows, rows.iloc[20:27]])
    made = module(tmp_path, rows, split={"val": 0.0, "test": 0.0})
    said = "\n".join(made.report.lines())
    assert "5 rows without a value of y left out" in said
    assert "7 rows like an earlier one" in said
    assert "1 column with a single value left out: same" in said
    assert "10 missing values" in said
    assert made.spec["feature_names"][:5] == ["x", "x missing", "kind=a", "kind=b", "kind=c"]
    assert torch.isfinite(made.splits["train"].x).all()
    dropped = module(tmp_path, rows, split={"val": 0.0, "test": 0.0}, duplicates="drop")
    assert "7 training rows that occur twice left out" in dropped.report.lines()
    assert made.report.sizes["train"] == dropped.report.sizes["train"] + 7


def test_rows_with_too_many_fields_are_counted_and_semicolons_understood(tmp_path: Path) -> None:
    lines = ["x;kind;y", *(f"{number}.5;a;{'yes' if number % 2 else 'no'}" for number in range(50)), "1;2;3;4;5"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    made = TableDataModule(path=str(tmp_path / "t.csv"), target="y")
    made.setup("fit")
    assert "1 row that could not be read left out" in made.report.lines()
    assert sum(made.report.sizes.values()) == 50


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(400) * 0.5, "regression"), (np.arange(400) % 5, "classification"),
        (np.arange(400) % 2 == 0, "classification"), (np.array(["a", "b"] * 200), "classification"),
    ],
)  # fmt: skip
def test_the_target_says_what_kind_of_problem_it_is(tmp_path: Path, values: Any, kind: str) -> None:
    made = module(tmp_path, table().assign(y=values))
    assert made.spec["task"] == kind
    if kind == "regression":
        y = made.splits["train"].y
        assert y.shape[1] == 1
        assert float(y.mean()) == pytest.approx(0, abs=1e-5)


def test_classes_are_numbered_as_named(tmp_path: Path) -> None:
    made = module(tmp_path, table(), classes=["yes", "no"])
    assert made.spec["class_names"] == ["yes", "no"]
    assert made.spec["class_counts"][0] == int((made.splits["train"].y == 0).sum())
    with pytest.raises(UserError, match="lacks 'no'"):
        module(tmp_path, table(), classes=["yes", "maybe"])


def test_a_restored_module_prepares_new_rows_without_the_training_data(tmp_path: Path) -> None:
    made = module(tmp_path, table())
    torch.save(made.state_dict(), tmp_path / "state.pt")
    fresh = TableDataModule(path="nowhere.csv", target="y")
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    rows = pd.DataFrame({"x": [1.0, None], "kind": ["a", "never seen"]})
    x = fresh.examples_of(rows).x
    assert x.shape == (2, 4)
    assert x[1, 1:].sum() == 0
    with pytest.raises(UserError, match="lacks the column kind"):
        fresh.examples_of(rows[["x"]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "z"}, "no such column"), ({"batch_size": 0}, "must be at least 1"),
        ({"split": {"dev": 0.1}}, "`val` and `test`"), ({"split": {"val": 0.6, "test": 0.5}}, "something to train on"),
        ({"task": "clustering"}, "the kinds are"), ({"task": "regression"}, "does not hold numbers"),
        ({"ignore": ["w"]}, "data.ignore=w.*no such column"), ({"duplicates": "maybe"}, "drop"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_option_is_a_sentence(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        module(tmp_path, table(), **options)


@pytest.mark.parametrize(
    ("content", "said"), [("", "cannot be read"), ("x,y\n", "without rows"), ("y\n" + "1\n2\n" * 20, "no column")]
)
def test_a_file_that_is_no_table_is_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=said):
        TableDataModule(path=str(tmp_path / "t.csv"), target="y").setup("fit")
