"""Heads against numerical integration and other libraries, networks of folds, and runs from end to end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import integrate, stats
from sklearn.metrics import mean_pinball_loss

import lantu
from lantu.cli.main import main
from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.models import TCN, FoldNetworks, SeriesTransformer
from lantu.serving.export.export_command import export
from lantu.tasks.forecast_heads import Quantiles, SkewT, VarEs, head_of

Train = Callable[..., lantu.Result]
RAW = torch.tensor([0.3, -0.4, 1.0, -0.5])
"""Location, logarithm of the scale, tail, skewness."""


def density(head: SkewT, value: float) -> float:
    return float(torch.exp(-head.loss(RAW.double(), torch.tensor(value, dtype=torch.float64))))


@pytest.mark.parametrize("skewed", [False, True])
def test_quantiles_and_tail_means_of_a_distribution_are_integrals_of_its_density(skewed: bool) -> None:
    head = SkewT(skewed=skewed)
    assert integrate.quad(lambda x: density(head, x), -np.inf, np.inf)[0] == pytest.approx(1, abs=1e-5)
    for level in (0.01, 0.05):
        quantile = float(head.quantiles(RAW, [level]))
        mass = integrate.quad(lambda x: density(head, x), -np.inf, quantile)[0]
        mean = integrate.quad(lambda x: x * density(head, x), -np.inf, quantile)[0]
        assert mass == pytest.approx(level, abs=1e-5)
        assert float(head.tail_means(RAW, [level])) == pytest.approx(mean / level, abs=2e-4)
    upper = float(head.quantiles(RAW, [0.95]))
    assert integrate.quad(lambda x: density(head, x), -np.inf, upper)[0] == pytest.approx(0.95, abs=1e-5)


def test_the_skewed_t_is_that_of_arch() -> None:
    arch = pytest.importorskip("arch.univariate", reason="needs the library arch")
    head = SkewT(skewed=True)
    location, log_scale, degrees, skew = (each.item() for each in head._parameters(RAW))
    law = arch.SkewStudent()
    values = np.linspace(-3, 3, 13)
    theirs = law.loglikelihood([degrees, skew], values - location, np.full(13, np.exp(2 * log_scale)), individual=True)
    ours = -head.loss(RAW.expand(13, 4), torch.from_numpy(values).float()).numpy()
    assert np.allclose(ours, theirs, atol=1e-5)
    quantile = location + np.exp(log_scale) * law.ppf([0.01], [degrees, skew])[0]
    assert float(head.quantiles(RAW, [0.01])) == pytest.approx(quantile, abs=1e-5)


def test_the_crps_of_a_student_t_is_the_integral_that_defines_it() -> None:
    head = SkewT(skewed=False)
    location, log_scale, degrees, _ = (each.item() for each in head._parameters(RAW[:3]))
    law = stats.t(degrees, location, np.exp(log_scale) * np.sqrt((degrees - 2) / degrees))
    for y in (-1.0, 0.5):
        below = integrate.quad(lambda x: law.cdf(x) ** 2, -np.inf, y)[0]
        above = integrate.quad(lambda x: law.sf(x) ** 2, y, np.inf)[0]
        assert float(head.crps(RAW[:3], torch.tensor(y))) == pytest.approx(below + above, abs=1e-4)  # type: ignore[arg-type]
    assert SkewT(skewed=True).crps(RAW, torch.tensor(0.0)) is None


def test_quantiles_never_cross_and_their_loss_is_the_pinball_loss() -> None:
    levels = [0.05, 0.3, 0.5, 0.9]
    head, raw, y = Quantiles(levels), 3 * torch.randn(50, 4), torch.randn(50)
    found = head.quantiles(raw, levels)
    assert (found.diff(dim=-1) > 0).all()
    expected = np.mean([mean_pinball_loss(y, found[:, each], alpha=levels[each]) for each in range(4)])
    assert float(head.loss(raw, y).mean()) == pytest.approx(expected, rel=1e-5)


def test_var_and_es_trained_by_their_joint_score_find_those_of_the_sample() -> None:
    torch.manual_seed(0)
    y = torch.distributions.StudentT(5.0).sample((20_000,))
    head = VarEs([0.01, 0.05])
    raw = torch.zeros(head.size, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = head.loss(raw.expand(len(y), -1), y).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = raw.detach()
    var, es = head.quantiles(found, [0.01, 0.05]), head.tail_means(found, [0.01, 0.05])
    assert (es < var).all()
    for place, level in enumerate((0.01, 0.05)):
        quantile = torch.quantile(y, level)
        assert float(var[place]) == pytest.approx(float(quantile), rel=0.03)
        assert float(es[place]) == pytest.approx(float(y[y < quantile].mean()), rel=0.03)


@pytest.mark.parametrize(
    ("kind", "levels", "sentence"),
    [
        ("median", [0.5], "a forecast is one of point, quantile"),
        ("quantile", [0.5, 0.1], "levels lie between 0 and 1 and rise"),
        ("var_es", [0.05, 0.95], "takes levels below 0.5"),
    ],
)
def test_a_head_that_is_none_is_refused(kind: str, levels: list[float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        head_of(kind, levels=levels, loss="mse")


def test_an_example_trains_the_network_of_its_fold_alone_and_each_fold_keeps_its_best_weights() -> None:
    net = FoldNetworks(torch.nn.Linear(3, 1), 3)
    x = {"window": torch.randn(8, 3), "fold": torch.tensor([0, 2, 2, 0, 0, 2, 2, 0])}
    net.train()(x).sum().backward()
    assert [each.weight.grad is not None for each in net.nets] == [True, False, True]  # type: ignore[union-attr]
    alone = torch.stack([net.nets[fold](row) for row, fold in zip(x["window"], x["fold"], strict=True)])
    assert torch.allclose(net(x), alone)
    net.keep(torch.tensor([1.0, torch.inf, 2.0]))
    kept = net.eval()(x).clone()
    with torch.no_grad():
        for each in net.nets:
            each.weight.add_(1.0)  # type: ignore[operator,union-attr]
    net.keep(torch.tensor([2.0, 5.0, 1.0]))  # fold 0 got worse, fold 2 better
    now, better = net(x), x["fold"] == 2
    assert torch.equal(now[~better], kept[~better])
    assert not torch.isclose(now[better], kept[better]).any()


def test_a_temporal_convolution_sees_its_receptive_field_and_nothing_else() -> None:
    net = TCN(1, 1, width=16, blocks=2, kernel=3, dropout=0.0)
    x = torch.randn(64, 40, 1, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    seen = (x.grad[:, :, 0] != 0).any(dim=0)
    assert not seen[: 40 - net.receptive_field].any()
    assert seen[40 - net.receptive_field :].all()


def test_patchtst_refuses_what_it_cannot_read() -> None:
    with pytest.raises(UserError, match=r"longer than `data.context=4`"):
        SeriesTransformer(1, 4, 1, config={"model_type": "patchtst", "patch_length": 8})
    with pytest.raises(UserError, match="series are read by patchtst"):
        SeriesTransformer(1, 4, 1, config={"model_type": "bert"})


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series with a week's season."""
    random = np.random.default_rng(0)
    steps = np.arange(300)
    week = 10 + 3 * np.sin(2 * np.pi * steps / 7)
    noise = random.standard_normal((2, 300))
    days = pd.date_range("2021-01-01", periods=300, freq="D")
    file = tmp_path_factory.mktemp("sales") / "sales.csv"
    pd.DataFrame({"day": days, "north": week + 0.2 * noise[0], "south": 50 + 2 * noise[1]}).to_csv(file, index=False)
    return file


SMALL = ("trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "data.context=14", "data.batch_size=32")


def test_a_forecast_beats_the_naive_one_and_is_measured_predicted_and_served_alike(
    sales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = ["data=time_series", f"data.path={sales}", "data.time=day", "data.season=7", "data.horizon=2", *SMALL]
    asked = ["model=linear", "task.kind=quantile", "optimizer.lr=0.02", "trainer.max_epochs=15"]
    result = lantu.run(lantu.compose(*typed, *asked))
    baselines = {each.name: each.metrics for each in result.module.baselines(result.data)}
    assert baselines.keys() == {"naive", "seasonal", "mean", "classical"}
    assert result.metrics["test/mase"] < baselines["naive"]["test/mase"]
    assert 0.7 < result.metrics["test/coverage"] <= 1
    assert {"forecast_north.png", "forecast_south.png", "error_by_step.png"} <= {
        each.name for each in (result.run_dir / "figures").iterdir()
    }
    assert main(["evaluate", "run=last"]) == 0
    assert f"{result.metrics['test/mae']:.6g}" in capsys.readouterr().out
    assert main(["predict", "run=last", f"input={sales}", "output=next.csv"]) == 0
    found = pd.read_csv("next.csv")
    assert len(found) == 300
    name = "prediction_north_step1"
    assert found[name].notna().to_numpy().tolist() == [False] * 13 + [True] * 287
    # the forecast beside a row is of the next one: as measured on the test split
    stored = pd.read_parquet(result.run_dir / "predictions" / "test.parquet")
    assert np.allclose(found[name].to_numpy()[-len(stored) - 2 : -2], stored[name], atol=1e-4)
    assert np.allclose(found["north"].to_numpy()[-len(stored) - 1 : -1], stored["target_north_step1"], atol=1e-4)
    from mlflow.pyfunc import load_model

    served = load_model(str(result.run_dir / "model")).predict(pd.read_csv(sales).tail(20))
    assert np.allclose(served[name].iloc[-7:], found[name].iloc[-7:], atol=1e-4)
    with pytest.raises(UserError, match="a forecast needs 14 steps"):
        rebuild(result.run_dir / "checkpoints" / "best.ckpt").data.examples_of(pd.read_csv(sales).tail(5))


@pytest.mark.slow
def test_a_walk_that_is_resumed_ends_as_one_that_was_not_stopped(sales: Path, train: Train, tmp_path: Path) -> None:
    walk = (
        "data=time_series", f"data.path={sales}", "data.time=day", "data.target=[north]", "data.split=expanding",
        "data.train_steps=120", "data.refit_every=60", "model=gru", "model.hidden=4", "model.embedding=4",
        "task.kind=student_t", "model.dropout=0.1", "save_model=false", *SMALL,
    )  # fmt: skip
    whole = train(*walk, "trainer.max_epochs=3", "test=false", f"paths.run={tmp_path}/whole")
    train(*walk, "trainer.max_epochs=1", "test=false", f"paths.run={tmp_path}/stopped")
    resumed = train(*walk, "trainer.max_epochs=3", f"paths.run={tmp_path}/stopped", "resume=auto")
    one, two = (
        torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for each in (whole.run_dir, resumed.run_dir)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["net.best"].isfinite().all()
    assert resumed.metrics["test/crps"] > 0
    assert "2020" not in str(resumed.data.report.lines())
    with pytest.raises(UserError, match="one device"):
        train(*walk, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1")


@pytest.mark.slow
def test_a_walk_exports_the_weights_of_every_fold_and_forecasts_the_same_from_them(
    sales: Path, train: Train, tmp_path: Path
) -> None:
    result = train(
        "data=time_series", f"data.path={sales}", "data.time=day", "data.target=[north]", "data.split=expanding",
        "data.train_steps=120", "data.refit_every=60", "model=gru", "model.hidden=4", "model.embedding=4",
        "trainer.max_epochs=1", "test=false", "save_model=false", *SMALL,
    )  # fmt: skip
    checkpoint, folder = result.run_dir / "checkpoints" / "best.ckpt", tmp_path / "export"
    with pytest.raises(UserError, match="answers each fold of a walk with another network"):
        export(rebuild(checkpoint), checkpoint, folder, form="torch")
    found = export(rebuild(checkpoint), checkpoint, folder, form="safetensors")
    assert (found["equal"], found["largest"]["value"]) == (True, 0)
    for name in ("run", "export"):
        given = result.run_dir if name == "run" else folder
        assert main(["predict", f"run={given}", f"input={sales}", f"output={tmp_path}/{name}.csv"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "export.csv"), pd.read_csv(tmp_path / "run.csv"))
