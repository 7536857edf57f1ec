"""Weight of evidence says the log-odds of each bin, is monotone if asked, and a scorecard adds up by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lantu.data import TableDataModule
from lantu.data.table.woe import PRIOR, Bins, Options, of_levels, of_numbers
from lantu.errors import UserError
from lantu.models import Scorecard


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "income": random.normal(3000, 800, 800).round(),
            "home": random.choice(["rent", "own", "free"], 800),
            "purpose": random.choice(["a new car for the family", "a trip around the world", "a kitchen"], 800),
        }
    )
    risk = 1 / (1 + np.exp((rows["income"] - 2500) / 400 - 2 * (rows["home"] == "rent")))
    rows["status"] = np.where(random.random(800) < risk, "bad", "good")
    rows.loc[::9, "income"] = np.nan
    path = tmp_path_factory.mktemp("woe") / "loans.csv"
    rows.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def data(loans: Path) -> TableDataModule:
    found = TableDataModule(path=str(loans), target="status", numbers="woe", woe={"monotone": True})
    found.prepare_data()
    return found


def test_a_bin_of_numbers_has_its_log_odds_less_those_of_all_rows() -> None:
    found = np.array([1.0] * 50 + [2.0] * 50 + [np.nan] * 20)
    positive = np.array([True] * 40 + [False] * 10 + [True] * 5 + [False] * 45 + [True] * 10 + [False] * 10)
    bins = of_numbers(found, positive, Options())
    rate = 55 / 120
    for bad, n, woe in zip([40, 5, 10], [50, 50, 20], bins.values, strict=True):
        share = (bad + PRIOR * rate) / (n + PRIOR)
        assert woe == pytest.approx(np.log(share / (1 - share)) - np.log(rate / (1 - rate)))
    assert bins.labels([], others=False) == ["up to 1.5", "above 1.5", "missing"]
    assert bins.places_of_numbers(np.array([-9.0, 1.5, 9.0, np.nan])).tolist() == [0, 0, 1, 2]


def test_categories_of_like_odds_share_a_bin_and_unknown_ones_count_as_average() -> None:
    codes = np.repeat([0, 1, 2], 100)
    positive = np.concatenate([np.arange(100) < share for share in (80, 10, 81)])
    bins = of_levels(codes, np.zeros(300, dtype=bool), 3, positive, Options(bins=2))
    assert bins.group_of_level[0] == bins.group_of_level[2] != bins.group_of_level[1]
    assert bins.encode(bins.places_of_levels(np.array([-1]), np.array([False]))) == 0


def test_odds_are_monotone_along_a_number_where_that_is_asked(data: TableDataModule) -> None:
    bins = Bins(**next(column for column in data.learned["columns"] if column["name"] == "income")["woe"])
    assert (np.diff(bins.values[:-1]) <= 0).all()
    assert len(bins.edges) >= 2


def test_evidence_is_learned_on_training_rows_alone_and_new_rows_are_read_in_the_same_way(
    data: TableDataModule, loans: Path
) -> None:
    new = pd.DataFrame({"income": ["9999", None], "home": ["castle", "rent"], "purpose": ["a kitchen", "a kitchen"]})
    x = data.examples_of(new).__getitems__([0, 1])
    income = Bins(**data.learned["columns"][0]["woe"])
    assert float(x[0, 0]) == pytest.approx(income.values[-2])
    assert float(x[1, 0]) == pytest.approx(income.values[-1])
    assert float(x[0, 1]) == 0
    assert sum(income.counts) == len(data.splits["train"])


def test_evidence_needs_two_classes(own_data: dict[str, list[str]], loans: Path) -> None:
    module = TableDataModule(path=str(loans), target="income", task="regression", numbers="woe")
    with pytest.raises(UserError, match=r"data.numbers=woe"):
        module.prepare_data()


def test_the_score_is_the_sum_of_the_points_of_the_table(data: TableDataModule) -> None:
    card = Scorecard(columns=data.spec["woe_columns"], points=600, odds=20, pdo=40)
    with torch.no_grad():
        card.weight.copy_(torch.tensor([0.8, 1.3, -0.4]))
    x = data.splits["train"].__getitems__(list(range(50)))[0]
    table = pd.DataFrame(card.table())
    points = {
        column["name"]: dict(zip(np.float32(column["woe"]).tolist(), group["points"], strict=True))
        for column, (_, group) in zip(card.columns, table.groupby("column", sort=False), strict=True)
    }
    by_hand = [sum(points[c["name"]][float(v)] for c, v in zip(card.columns, row, strict=True)) for row in x]
    assert card.score(x).tolist() == by_hand
    assert (table[table["column"] == "purpose"]["points"].nunique()) == 1, (
        "a column does not count against its evidence"
    )
    odds = card(x)[:, 0] - card(x)[:, 1]
    exact = 600 + 40 / np.log(2) * (odds.detach().numpy() - np.log(20))
    assert np.abs(np.array(by_hand) - exact).max() <= len(card.columns) / 2


def test_a_scorecard_is_trained_and_predicts_its_score_with_reasons(
    train: Callable, loans: Path, tmp_path: Path
) -> None:
    from pytorch_lightning import Trainer

    from lantu.inference.predict import predict
    from lantu.inference.rebuild import rebuild

    result = train(
        "data=csv", f"data.path={loans}", "data.target=status", "model=scorecard", "business=credit",
        "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "save_model=false", "logger=none",
    )  # fmt: skip
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      default_root_dir=tmp_path)  # fmt: skip
    found = predict(rebuild(result.best_checkpoint), trainer, loans)
    order = np.argsort(found["probability_bad"].to_numpy())
    assert (np.diff(found["score"].to_numpy()[order]) <= 3).all(), "a high score is a low risk, but for rounding"
    rejected = found[found["decision"] == "reject"]
    assert set(rejected["reason_1"]) <= {"income", "home", "purpose"}
    assert (found.loc[found["decision"] == "accept", "reason_1"] == "").all()


def test_a_target_that_is_a_number_has_no_weight_of_evidence(loans: Path) -> None:
    with pytest.raises(UserError, match="`income` is not one of two classes"):
        TableDataModule(path=str(loans), target="income", numbers="woe").prepare_data()
