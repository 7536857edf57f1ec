"""Backtests against published tables, other libraries and simulation; the classical models; a run from end to end."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statsmodels.api import OLS

import lantu
from lantu.cli.main import main
from lantu.errors import UserError
from lantu.tasks import MarketRisk
from lantu.tasks.market_risk import RiskTests
from lantu.tasks.risk import backtests
from lantu.tasks.risk.backtest_table import Forecast, measured, risk_table
from lantu.tasks.risk.volatility import CLASSICAL, ewma, garch, historical_simulation

KUPIEC = [
    (0.01, 255, 1, 6), (0.01, 510, 2, 10), (0.01, 1000, 5, 16), (0.025, 255, 3, 11), (0.025, 510, 7, 20),
    (0.025, 1000, 16, 35), (0.05, 255, 7, 20), (0.05, 510, 17, 35), (0.05, 1000, 38, 64),
]  # fmt: skip
"""Kupiec (1995), table 3: level, days, and the fewest and most violations that are not rejected at 5%.

For 255 days at 1% he prints no lower limit ("N < 7"); his statistic rejects none at all, as with 5.13 > 3.84.
"""


def series(days: int, violations: int) -> np.ndarray:
    return np.arange(days) < violations


@pytest.mark.parametrize(("level", "days", "fewest", "most"), KUPIEC)
def test_kupiec_rejects_as_his_published_table_does(level: float, days: int, fewest: int, most: int) -> None:
    accepted = [n for n in range(days // 5) if backtests.kupiec(series(days, n), level=level).p > 0.05]
    assert (accepted[0], accepted[-1]) == (fewest, most)


def test_independence_is_the_likelihood_ratio_of_the_table_of_transitions() -> None:
    violations = np.random.default_rng(0).random(400) < 0.1
    violations[50:60] = True  # a cluster
    table = pd.crosstab(violations[:-1], violations[1:])
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    found = backtests.christoffersen(violations)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.p < 0.05
    both = backtests.conditional_coverage(violations, level=0.1)
    assert both.statistic == pytest.approx(found.statistic + backtests.kupiec(violations, level=0.1).statistic)


def test_what_a_sample_cannot_tell_is_not_a_number() -> None:
    assert np.isnan(backtests.christoffersen(np.zeros(100, bool)).p)
    assert np.isnan(backtests.mcneil_frey(np.ones(100), -np.ones(100), -2 * np.ones(100)).p)
    assert np.isnan(backtests.diebold_mariano(np.ones(10), np.ones(10)).p)


def test_the_dynamic_quantile_test_is_a_regression_and_has_its_size() -> None:
    random = np.random.default_rng(1)
    rejected = 0
    for _ in range(200):
        deviation = np.exp(0.3 * random.standard_normal(1000).cumsum() / 20)
        returns, var = deviation * random.standard_normal(1000), deviation * stats.norm.ppf(0.05)
        rejected += backtests.dynamic_quantile(returns, var, level=0.05).p < 0.05
    assert 0.02 < rejected / 200 < 0.10
    hits = (returns < var) - 0.05
    x = np.column_stack([np.ones(996), *(hits[4 - lag : -lag] for lag in range(1, 5)), var[4:]])
    explained = float((OLS(hits[4:], x).fit().fittedvalues ** 2).sum())
    assert backtests.dynamic_quantile(returns, var, level=0.05).statistic == pytest.approx(explained / (0.05 * 0.95))
    # a VaR that does not move with the volatility is found out, though it is right in the mean
    deviation = np.where(np.arange(1000) % 100 < 20, 6.0, 1.0)
    returns = deviation * random.standard_normal(1000)
    fixed = np.full(1000, np.quantile(returns, 0.05)) + 1e-3 * random.standard_normal(1000)
    assert backtests.kupiec(returns < fixed, level=0.05).p > 0.5
    assert backtests.dynamic_quantile(returns, fixed, level=0.05).p < 0.01


def test_the_es_tests_have_the_published_critical_value_and_find_a_small_es() -> None:
    random = np.random.default_rng(2)
    level, days = 0.025, 250
    var = np.full(days, stats.norm.ppf(level))
    es = np.full(days, -stats.norm.pdf(stats.norm.ppf(level)) / level)
    found = [backtests.acerbi_szekely(random.standard_normal(days), var, es, level=level) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0, abs=0.02)
    assert np.quantile(found, 0.05) == pytest.approx(-0.70, abs=0.04)  # Acerbi and Szekely (2014)
    returns = random.standard_normal(20_000)
    long_var, long_es = np.full(20_000, var[0]), np.full(20_000, es[0])
    assert backtests.mcneil_frey(returns, long_var, long_es).p > 0.02
    assert backtests.mcneil_frey(returns, long_var, 0.9 * long_es).p < 0.001


def test_the_scores_are_smallest_at_the_true_values() -> None:
    returns = np.random.default_rng(3).standard_normal(400_000)
    true_var = stats.norm.ppf(0.05)
    true_es = -stats.norm.pdf(true_var) / 0.05
    var, es = np.full(len(returns), true_var), np.full(len(returns), true_es)
    best = backtests.fz0(returns, var, es, level=0.05).mean()
    for factor in (0.9, 1.1):
        assert backtests.fz0(returns, factor * var, es, level=0.05).mean() > best
        assert backtests.fz0(returns, var, factor * es, level=0.05).mean() > best
        assert (
            backtests.pinball(returns, factor * var, level=0.05).mean()
            > backtests.pinball(returns, var, level=0.05).mean()
        )
    by_hand = 1 / (0.05 * 2.0) * (-1.5 + 3.0) + 1.5 / 2.0 + np.log(2.0) - 1
    one = [np.array([each]) for each in (-3.0, -1.5, -2.0)]
    assert backtests.fz0(*one, level=0.05)[0] == pytest.approx(by_hand)


def test_diebold_mariano_without_lags_is_the_t_test() -> None:
    random = np.random.default_rng(4)
    one, two = random.random(300), random.random(300) + 0.03
    expected = stats.ttest_1samp(one - two, 0.0)
    found = backtests.diebold_mariano(one, two, lags=0)
    assert (found.statistic, found.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert backtests.diebold_mariano(0.5 * one, two).statistic < 0


def returns_with_clusters(days: int = 700) -> np.ndarray:
    random = np.random.default_rng(5)
    variance, found = 1.0, np.empty(days)
    for day in range(days):
        found[day] = np.sqrt(variance) * random.standard_normal()
        variance = 0.05 + 0.1 * found[day] ** 2 + 0.85 * variance
    return found


def test_simple_risk_models_are_what_they_are_called() -> None:
    returns = returns_with_clusters()
    days = np.array([400, 401])
    past = returns[150:400]
    found = historical_simulation(returns, days, levels=(0.05,))
    assert found.var[0, 0] == pytest.approx(np.quantile(past, 0.05))
    assert found.es[0, 0] == pytest.approx(past[past <= np.quantile(past, 0.05)].mean())
    smooth = ewma(returns, days, levels=(0.01,))
    variances = (smooth.var[:, 0] / stats.norm.ppf(0.01)) ** 2
    assert variances[1] == pytest.approx(0.94 * variances[0] + 0.06 * returns[400] ** 2)
    assert smooth.es[0, 0] / smooth.var[0, 0] == pytest.approx(2.6652 / 2.3263, abs=1e-3)


def test_garch_forecasts_as_arch_does_and_knows_nothing_of_later_days() -> None:
    arch = pytest.importorskip("arch", reason="needs the library arch (the extra finance)")
    returns, days = returns_with_clusters(), np.arange(600, 640)
    options = {"levels": (0.01, 0.05), "distribution": "skewt", "asymmetric": True, "window": 600, "refit_every": 30}
    found = garch(returns, days, **options)
    model = arch.arch_model(returns[:600], mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="skewt")
    fitted = model.fit(disp="off")
    theirs = fitted.forecast(horizon=1, reindex=False)
    deviation, mean = float(theirs.variance.iloc[-1, 0]) ** 0.5, float(theirs.mean.iloc[-1, 0])
    shape = fitted.params[["eta", "lambda"]].to_numpy()
    quantiles = model.distribution.ppf([0.01, 0.05], shape)
    assert np.allclose(found.var[0], mean + deviation * quantiles, rtol=1e-3)
    draws = model.distribution.ppf(np.linspace(0.00005, 0.04995, 500), shape)
    assert found.es[0, 1] == pytest.approx(mean + deviation * draws.mean(), rel=5e-3)
    changed = np.concatenate([returns[:620], 5 * returns[620:]])
    other = garch(changed, days, **options)
    assert np.array_equal(found.var[:21], other.var[:21])
    assert not np.array_equal(found.var[21:], other.var[21:])


def test_a_garch_variance_follows_the_days_that_are_not_forecast_as_well() -> None:
    pytest.importorskip("arch", reason="needs the library arch (the extra finance)")
    returns, days = returns_with_clusters(), np.arange(600, 640)
    chosen = np.r_[0:10, 30:40]
    whole, some = (garch(returns, each, levels=(0.05,), window=400, refit_every=40) for each in (days, days[chosen]))
    assert np.array_equal(some.var, whole.var[chosen])


@pytest.mark.slow
def test_gjr_with_a_skewed_t_passes_on_the_sp500_where_plain_garch_fails(mirror: Path) -> None:
    prices = pd.read_parquet(mirror / "tables" / "sp500_ohlcv.parquet")["close"].to_numpy()
    returns = 100 * np.diff(np.log(prices))
    days = np.arange(1000, len(returns))
    assert len(days) == 4030
    gjr = CLASSICAL["gjr_skewt"][1](returns, days, levels=(0.01, 0.05))
    at_1, at_5 = (
        measured(returns[days], gjr.var[:, n], gjr.es[:, n], level=level) for n, level in enumerate(gjr.levels)
    )
    assert (at_1["kupiec_p"], at_1["christoffersen_p"]) == (
        pytest.approx(0.84, abs=0.01),
        pytest.approx(0.38, abs=0.01),
    )
    assert at_5["pinball"] == pytest.approx(0.1150, abs=1e-4)
    plain = CLASSICAL["garch_n"][1](returns, days, levels=(0.01,))
    assert measured(returns[days], plain.var[:, 0], plain.es[:, 0], level=0.01)["kupiec_p"] < 0.001


def test_the_metric_of_a_split_in_parts_is_that_of_the_whole() -> None:
    random = np.random.default_rng(6)
    returns = torch.from_numpy(random.standard_normal((500, 2)))
    var = torch.full((500, 2, 2), -1.8) - torch.tensor([0.5, 0.0])
    metric = RiskTests(["a", "b"], (0.01, 0.05))
    for part in torch.arange(500).split(64):
        metric.update(returns[part], var[part], 1.3 * var[part])
    found = metric.compute()
    expected = measured(
        returns[:, 1].numpy(), var[:, 1, 1].double().numpy(), 1.3 * var[:, 1, 1].double().numpy(), level=0.05
    )
    assert float(found["kupiec_p_5_b"]) == pytest.approx(expected["kupiec_p"])
    assert float(found["exceedance_rate_5_b"]) == pytest.approx(expected["violations"])


def test_a_model_passes_if_no_test_rejects_it_and_is_compared_by_diebold_mariano() -> None:
    returns = returns_with_clusters(600)
    variance = np.ones(600)
    for day in range(599):
        variance[day + 1] = 0.05 + 0.1 * returns[day] ** 2 + 0.85 * variance[day]
    deviation = np.sqrt(variance)[:, None]
    true = Forecast("true", deviation * -1.645, deviation * -2.063)
    small = Forecast("too small", 0.6 * true.var, 0.6 * true.es)
    rows = risk_table("x", returns, [true, small], levels=[0.05])
    assert [row["passes"] for row in rows] == [True, False]
    assert rows[1]["dm"] < 0
    assert rows[1]["dm_p"] < 0.05


def test_options_that_know_no_tail_are_refused() -> None:
    names = {"target_names": ["a"], "naive_error": [1.0]}
    with pytest.raises(UserError, match="one step ahead"):
        MarketRisk(torch.nn.Identity(), horizon=2, **names)
    with pytest.raises(UserError, match="knows no expected shortfall"):
        MarketRisk(torch.nn.Identity(), horizon=1, kind="quantile", levels=[0.01, 0.05], **names)
    with pytest.raises(UserError, match=r"`task.levels` must hold 0.01"):
        MarketRisk(torch.nn.Identity(), horizon=1, kind="var_es", levels=[0.05], **names)
    with pytest.raises(UserError, match="there is no garch_x"):
        MarketRisk(torch.nn.Identity(), horizon=1, classical=["garch_x"], **names)


def test_a_risk_model_is_measured_evaluated_and_predicts_tomorrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    price = 100 * np.exp(returns_with_clusters(500).cumsum() / 100)
    days = pd.bdate_range("2020-01-01", periods=500)
    pd.DataFrame({"date": days, "price": price}).to_csv("prices.csv", index=False)
    typed = [
        "experiment=market_risk", "data=time_series", "data.path=prices.csv", "data.time=date", "data.context=20",
        "data.transform=log_return", "data.scale=volatility", "data.split=expanding", "data.train_steps=250",
        "data.refit_every=125", "trainer.max_epochs=2",
        "task.classical=[historical,ewma]", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"price never falls below 0.*data.transform=log_return"):
        lantu.run(lantu.compose(*typed, "data.transform=none"))
    result = lantu.run(lantu.compose(*typed))
    assert {"test/kupiec_p_1", "test/dq_p_5", "test/fz0_5", "test/pinball_1", "val/fz0_1"} <= result.metrics.keys()
    assert (result.run_dir / "figures" / "var.png").is_file()
    tables = [table for name, table in result.module.figures("test", {}) if name == "risk_tests"]
    assert not tables, "without outputs there is nothing to tell"
    records = (result.run_dir / "journal" / "records.jsonl").read_text()
    assert "risk_tests" in records
    of_sweep = MarketRisk.baselines_for(result.data, {"risk_levels": [0.025], "classical": ["historical", "ewma"]})
    assert [each.name for each in of_sweep] == ["historical", "ewma"]
    assert set(of_sweep[0].metrics) == {"test/pinball_2.5", "test/fz0_2.5"}
    assert main(["evaluate", "run=last"]) == 0
    assert f"{result.metrics['test/fz0_5']:.6g}" in capsys.readouterr().out
    assert main(["predict", "run=last", "input=prices.csv", "output=risk.csv"]) == 0
    found = pd.read_csv("risk.csv")
    tomorrow = found.iloc[-1]
    assert tomorrow["es_0.01"] < tomorrow["var_0.01"] < tomorrow["var_0.05"] < 0
    assert found["var_0.01"].isna().sum() == 20
