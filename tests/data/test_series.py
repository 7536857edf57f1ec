"""Time series: nothing of the future is seen, and what is missing, unordered or cut is counted and said."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lantu.data import SeriesDataModule, equal_weight, mirror_table, statsmodels, table_file
from lantu.data.series import gjr
from lantu.data.series.windows import SeriesWindows
from lantu.errors import UserError

STEPS = 300
WALK = {"train_steps": 120, "refit_every": 50}
CUTS: list[dict[str, Any]] = [
    {"split": {"val": 0.2, "test": 0.3}},
    {"split": "walk_forward", "embargo": 2, **WALK},
    {"split": "expanding", **WALK},
]


def prices() -> pd.DataFrame:
    random = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=STEPS, freq="D")
    walk = 100 * np.exp(np.cumsum(0.01 * random.standard_normal((STEPS, 2)), axis=0))
    return pd.DataFrame({"day": days, "a": walk[:, 0], "b": walk[:, 1]})


def module(rows: pd.DataFrame, folder: Path, **options: Any) -> SeriesDataModule:
    rows.to_csv(folder / "rows.csv", index=False)
    data = SeriesDataModule(path=str(folder / "rows.csv"), time="day", **{"context": 10, **options})
    data.prepare_data()
    return data


def examples(data: SeriesDataModule, split: str) -> SeriesWindows:
    found = data.splits[split]
    assert isinstance(found, SeriesWindows)
    return found


@pytest.mark.parametrize("transform", ["none", "log_return"])
@pytest.mark.parametrize("scale", ["train", "window", "volatility"])
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: str(cut["split"])[:12])
def test_changing_the_future_changes_nothing_before_it(
    cut: dict[str, Any], scale: str, transform: str, tmp_path: Path
) -> None:
    options = {"target": ["a"], "covariates": ["b"], "scale": scale, "transform": transform, "horizon": 2, **cut}
    whole = module(prices(), tmp_path, **options)
    for change in (whole.cuts[0].test[0], whole.cuts[-1].test[0] + 3):
        rows = prices()
        rows.loc[change:, ["a", "b"]] *= 7.0
        other = module(rows, tmp_path, **options)
        unchanged = [number for number, fold in enumerate(whole.cuts) if fold.train[1] <= change]
        assert unchanged
        compared = 0
        for split in whole.splits:
            one, two = examples(whole, split), examples(other, split)
            before = np.flatnonzero((one.origins + one.horizon <= change) & np.isin(one.folds, unchanged)).tolist()
            compared += len(before)
            for first, second in zip(one.__getitems__(before), two.__getitems__(before), strict=True):
                pairs = (
                    zip(first.values(), second.values(), strict=True) if isinstance(first, dict) else [(first, second)]
                )
                assert all(np.array_equal(left, right) for left, right in pairs)
            # what is seen for the forecast of the very step that changes
            at = np.flatnonzero((one.origins == change) & np.isin(one.folds, unchanged)).tolist()
            first, second = (each.__getitems__(at)[0] for each in (one, other.splits[split]))
            assert all(np.array_equal(first[key], second[key]) for key in first)
        assert compared > 50
        changed = examples(other, "test").truth() != examples(whole, "test").truth()
        assert changed.any(), "the change must be visible to the test part"


def test_a_window_ends_just_before_what_it_forecasts(tmp_path: Path) -> None:
    rows = prices().assign(a=np.arange(STEPS, dtype=float))
    data = module(rows, tmp_path, target=["a"], horizon=3)
    x, y = examples(data, "test").__getitems__([0, 5])
    back = x["location"][:, None] + x["scale"][:, None] * x["window"]
    first = examples(data, "test").origins[[0, 5]]
    assert np.allclose(back[:, -1, 0], first - 1, atol=1e-3)
    assert np.allclose(x["location"][:, None] + x["scale"][:, None] * y, first[:, None, None] + np.arange(3)[:, None])


def test_a_walk_tests_every_step_once_and_trains_on_those_before_it_alone(tmp_path: Path) -> None:
    for cut in CUTS[1:]:
        data = module(prices(), tmp_path, target=["a"], **cut)
        test = examples(data, "test")
        embargo = cut.get("embargo", 0)
        assert sorted(test.origins) == list(range(120, STEPS))
        for fold in range(len(data.cuts)):
            of_fold = {name: examples(data, name).origins[examples(data, name).folds == fold] for name in data.splits}
            assert of_fold["train"].max() + embargo < of_fold["val"].min()
            assert of_fold["val"].max() + embargo < of_fold["test"].min()
            begin = of_fold["test"].min()
            past = np.concatenate([of_fold["train"], of_fold["val"]])
            assert past.min() == (10 if cut["split"] == "expanding" else max(10, begin - 120))
            begin, end = data.cuts[fold].train
            trained = data.series.values[begin - 10 : end, 0]
            assert data.learned["scaling"]["mean"][fold][0] == pytest.approx(trained.mean())


def test_missing_steps_are_said_and_windows_that_touch_them_left_out_unless_filled_from_the_past(
    tmp_path: Path,
) -> None:
    rows = prices()
    rows.loc[50:54, "a"] = np.nan
    data = module(rows, tmp_path, target=["a"])
    said = "\n".join(data.report.lines())
    assert "a: 5 steps missing in 1 stretches, the longest 5 steps from 2020-02-20" in said
    assert "15 windows that touch a missing value left out" in said
    for split in data.splits:
        (x, y) = examples(data, split).__getitems__(list(range(len(examples(data, split)))))
        assert x["window"].isfinite().all()
        assert y.isfinite().all()
    filled = module(rows, tmp_path, target=["a"], fill="forward")
    assert "5 missing values taken from the step before" in "\n".join(filled.report.lines())
    assert np.allclose(filled.series.values[50:55, 0], rows.loc[49, "a"])


def test_values_that_were_filled_in_and_are_scored_against_are_a_warning(tmp_path: Path) -> None:
    rows = prices()
    rows.loc[50:54, "a"] = np.nan  # of training
    trained = module(rows, tmp_path, target=["a"], fill="forward")
    assert not trained.report.warnings
    rows.loc[290:291, "a"] = np.nan
    data = module(rows, tmp_path, target=["a"], fill="forward", horizon=3)
    assert data.report.warnings == [
        "2 of 29 steps to forecast in test were missing; they are scored against the value before them"
    ]


def test_rows_are_put_in_order_and_gaps_are_said(tmp_path: Path) -> None:
    rows = prices()
    weekdays = rows[rows["day"].dt.dayofweek < 5].iloc[::-1]
    data = module(weekdays, tmp_path, target=["a"])
    said = "\n".join(data.report.lines())
    assert "rows put in the order of day" in said
    assert "steps are 1 day apart, but for 43 longer gaps, the longest 3 days from 2020-01-03" in said
    assert np.allclose(data.series.values[:, 0], weekdays["a"].to_numpy()[::-1])


def test_a_regular_calendar_has_a_missing_step_for_each_day_without_a_row(tmp_path: Path) -> None:
    rows = prices().drop(index=[40, 41])
    data = module(rows, tmp_path, target=["a"], every="day", fill="forward")
    assert len(data.series.times) == STEPS
    assert "2 days without a row taken as missing steps" in "\n".join(data.report.lines())


def test_several_rows_of_a_step_are_refused_or_brought_together(tmp_path: Path) -> None:
    rows = pd.concat([prices(), prices().assign(a=lambda each: each["a"] + 2)])
    with pytest.raises(UserError, match=r"300 rows have the time of another row.*data.aggregate=mean"):
        module(rows, tmp_path, target=["a"])
    data = module(rows, tmp_path, target=["a"], every="day", aggregate="mean")
    assert np.allclose(data.series.values[:, 0], prices()["a"] + 1)
    months = module(prices(), tmp_path, target=["a"], every="month", aggregate="sum", context=1)
    assert "the first and the last month count what the table has of them" in "\n".join(months.report.lines())
    repeated = module(pd.concat([prices(), prices().head(3)]), tmp_path, target=["a"])
    assert "3 rows that repeat the row before left out" in "\n".join(repeated.report.lines())


def test_csv_and_parquet_are_read_alike(tmp_path: Path) -> None:
    rows = prices()
    rows.to_parquet(tmp_path / "rows.parquet")
    other = SeriesDataModule(path=str(tmp_path / "rows.parquet"), time="day", context=10)
    other.prepare_data()
    data = module(rows, tmp_path)
    assert data.spec == other.spec
    assert data.spec["target_names"] == ["a", "b"]
    assert np.array_equal(data.series.times, other.series.times)
    assert np.allclose(data.series.values, other.series.values, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": ["c"]}, "there is no column `c`"),
        ({"split": "random"}, "series are always cut by time"),
        ({"context": 400}, "leave no window of 400 steps"),
        ({"split": "expanding", "train_steps": 400}, "none is left to test on"),
        ({"transform": "log_return", "target": ["negative"]}, "negative has values that are not positive"),
        ({"test_from": "2030-01-01"}, "lies outside the series, 2020-01-01 to 2020-10-26"),
        ({"test_from": "soon"}, "is no date"),
        ({"scale": "minmax"}, "one of train, window, volatility"),
        ({"horizon": 30}, r"val has 29 steps in a row at most and no window .* longer \(`data.split`\)"),
        ({"split": "expanding", **WALK, "horizon": 60, "val_share": 0.0}, r"test has 50 steps .*`data.refit_every`"),
        ({"every": "day", "aggregate": "sum", "fill": "forward"}, "repeat the sum"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        module(prices().assign(negative=-1.0), tmp_path, **options)


def test_a_column_of_times_that_are_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its values are no dates"):
        module(prices().assign(day="monday"), tmp_path)


def test_an_equal_weight_portfolio_returns_the_mean_of_its_members(tmp_path: Path) -> None:
    rows = prices()
    rows.to_parquet(tmp_path / "prices.parquet")
    raw = equal_weight(lambda: table_file(str(tmp_path / "prices.parquet")), ["a", "b"])
    returns = rows[["a", "b"]].pct_change().mean(axis=1)
    assert np.allclose(raw.rows["portfolio"].pct_change()[1:], returns[1:])
    with pytest.raises(UserError, match="there is no column `d`"):
        equal_weight(lambda: table_file(str(tmp_path / "prices.parquet")), ["d"])


def test_a_mirror_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"It is a table of prices.*paths.mirror=DIR"):
        mirror_table("tables/prices.csv", mirror=str(tmp_path), elsewhere="It is a table of prices.")


def test_series_of_statsmodels_are_read_without_a_network() -> None:
    raw = statsmodels("co2")
    assert len(raw.rows) == 2284
    assert raw.rows["co2"].isna().sum() == 59
    with pytest.raises(UserError, match="there are co2, nile, sunspots"):
        statsmodels("anything")


def test_the_scale_of_gjr_is_the_deviation_that_arch_forecasts_from_the_training_part(tmp_path: Path) -> None:
    pytest.importorskip("arch", reason="needs the library arch (the extra finance)")
    rows = prices()
    options = {
        "target": ["a"],
        "transform": "log_return",
        "scale": "gjr",
        "context": 100,
        "split": {"val": 0.2, "test": 0.2},
    }
    data = module(rows, tmp_path, **options)
    end = data.cuts[0].train[1]
    returns = data.series.values[:, 0]
    from arch import arch_model

    fitted = arch_model(returns[1:end], mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="skewt").fit(disp="off")
    origin = examples(data, "test").origins[0]
    whole = arch_model(returns[1:origin], mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="skewt").fix(fitted.params)
    theirs = float(whole.forecast(horizon=1).variance.iloc[-1, 0]) ** 0.5
    x, _ = examples(data, "test").__getitems__([0])
    assert float(x["scale"]) == pytest.approx(theirs, rel=0.02)  # a window begins anew, 100 steps before
    rows.loc[origin:, "a"] *= 2.0
    assert module(rows, tmp_path, **options).learned["scaling"] == data.learned["scaling"]


def test_returns_that_are_fractions_are_not_fitted_as_if_they_were_percent() -> None:
    pytest.importorskip("arch", reason="needs the extra `finance`")
    returns = np.random.default_rng(0).normal(0, 0.01, 400)
    with pytest.raises(UserError, match="in percent"):
        gjr.fit(returns, asked="data.scale=gjr")
    assert gjr.fit(100 * returns, asked="data.scale=gjr").convergence_flag == 0
