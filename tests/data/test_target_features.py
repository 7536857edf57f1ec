"""Columns with many categories by their mean target, and numbers piecewise: what training rows and later ones get."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lantu.data import TableDataModule
from lantu.data.table.column import Column
from lantu.data.table.encode_columns import encode, encode_column
from lantu.data.table.row_encoder import RowEncoder
from lantu.data.table.target_features import TargetFeatures


def test_a_training_row_is_not_told_its_own_target() -> None:
    random = np.random.default_rng(0)
    towns, y = pd.Series([f"town {each}" for each in random.integers(0, 600, 1200)]), random.normal(size=(1200, 1))
    features = TargetFeatures.learn(towns, y)
    told = np.corrcoef(features.encode(towns)[:, 0], y[:, 0])[0, 1]
    untold = np.corrcoef(features.encode_training(towns, y)[:, 0], y[:, 0])[0, 1]
    assert told > 0.4
    assert abs(untold) < 0.1


def test_later_rows_get_the_mean_of_their_category_and_unseen_ones_that_of_all() -> None:
    towns = pd.Series(["a"] * 50 + ["b"] * 50 + ["c"] * 50 + [None] * 50)
    y = np.repeat([0.0, 1.0, 2.0, 1.0], 50)[:, None]
    found = TargetFeatures.learn(towns, y).encode(pd.Series(["a", "b", "c", "unheard", None, "n/a"]))
    assert found[0, 0] < found[1, 0] < found[2, 0]
    assert found[3, 0] == pytest.approx(found[1, 0], abs=0.05)
    assert found[3, 1] < found[0, 1]
    assert found[4].tolist() == found[5].tolist()


def test_a_number_is_encoded_piecewise_between_the_edges_and_a_little_beyond() -> None:
    column = Column("x", "number", "double", scales=True, quantiles=[0.0, 4.0], scores=[-1.0, 1.0], edges=[0, 1, 2, 4])
    found = encode_column(column, pd.Series([0.5, 3.0, -9.0, 100.0]))
    assert found[:, 2:].tolist() == [[0.5, 0, 0], [1, 1, 0.5], [-3, 0, 0], [1, 1, 3]]
    assert len(column.features) == found.shape[1]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableDataModule:
    random = np.random.default_rng(1)
    town = random.integers(0, 80, 1000)
    amount = np.exp(random.normal(size=1000) * 2)
    sold = np.where(town % 2 + amount / amount.mean() + random.normal(size=1000) > 1.5, "yes", "no")
    rows = pd.DataFrame({"town": [f"t{each}" for each in town], "amount": amount, "few": town % 2, "sold": sold})
    path = tmp_path_factory.mktemp("table") / "sales.csv"
    rows.assign(amount=rows.amount.where(random.random(1000) > 0.05)).to_csv(path, index=False)
    data = TableDataModule(path=str(path), target="sold", numbers="piecewise", categories="target")
    data.setup("fit")
    return data


def test_the_facts_describe_every_feature_of_such_a_table(table: TableDataModule) -> None:
    names = table.spec["feature_names"]
    assert len(names) == table.spec["features"] == table.splits["train"].x.shape[1]  # type: ignore[attr-defined]
    assert [names[place] for place in table.spec["numeric_features"]] == [
        "town mean target 0",
        "town frequency",
        "amount",
        "amount rank",
    ]


def test_one_row_is_encoded_as_a_table_of_it_is(table: TableDataModule) -> None:
    columns = table._columns
    encoder = RowEncoder(columns)
    for town, amount, few in [("t3", 1.5, 1), ("nowhere", None, 0), (None, "1e9", 1), ("t7", 0.0001, "0")]:
        row = {"town": town, "amount": amount, "few": few}
        assert encoder.encode(row).tolist() == encode(pd.DataFrame([row]), columns)[0].tolist()


def test_the_encoding_is_that_of_the_checkpoint(table: TableDataModule, tmp_path: Path) -> None:
    other = TableDataModule(path=str(table.source().rows.attrs.get("path", tmp_path)), target="sold")
    other.load_state_dict(table.state_dict())
    rows = pd.DataFrame({"town": ["t1", "t2"], "amount": ["2", "3"], "few": ["0", "1"]})
    assert other.examples_of(rows).x.tolist() == table.examples_of(rows).x.tolist()
