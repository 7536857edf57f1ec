"""One definition of the best epoch, one figure for one checkpoint, and monitors that are checked before training."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from lantu.checkpoints.load import load
from lantu.cli.main import main
from lantu.config.composing import compose
from lantu.errors import UserError
from lantu.inference.evaluate import evaluate
from lantu.inference.rebuild import rebuild
from lantu.sweeps.state.objective import objective_value
from lantu.tracking.find import find_checkpoint
from lantu.training import BestCheckpoints, EarlyStopping, Result, run
from tests.stores import new_store

QUICK = ("model=linear", "data=digits", "save_model=false", "trainer.enable_progress_bar=false", "callbacks.cost=null")


def trained(folder: Path, *overrides: str) -> Result:
    unsent = () if "logger=none" in overrides else ("logger.mlflow.ship=false",)
    return run(compose(*QUICK, *unsent, f"paths.root={folder}", *overrides))


def test_the_averaged_weights_measure_the_same_in_the_run_and_afterwards(tmp_path: Path) -> None:
    result = trained(
        tmp_path, "trainer.max_epochs=2", "callbacks=[default,ema]", "callbacks.ema.decay=0.9", "logger=none"
    )
    assert result.best_checkpoint is not None
    trainer = pytest.importorskip("pytorch_lightning").Trainer(logger=False, enable_progress_bar=False)
    again = evaluate(rebuild(result.best_checkpoint), trainer)
    assert again["test/loss"] == pytest.approx(result.metrics["test/loss"], rel=1e-6)


def test_every_validation_metric_is_recorded_at_the_best_epoch(tmp_path: Path) -> None:
    # a learning rate at which later epochs are worse
    result = trained(tmp_path, "trainer.max_epochs=4", "optimizer.lr=0.3", "callbacks.checkpoint.monitor=val/accuracy")
    found, metrics = load(Path(str(result.best_checkpoint))), result.metrics
    state = next(value for name, value in found["callbacks"].items() if "BestCheckpoints" in name)
    best = max(state["metrics_of"].values(), key=lambda each: each["val/accuracy"])
    assert metrics["val/accuracy_best"] == best["val/accuracy"] >= metrics["val/accuracy"]
    assert metrics["val/loss_best"] == best["val/loss"]
    assert objective_value(metrics, "val/loss") == objective_value(metrics, "val/loss_best") == best["val/loss"]


def test_best_of_an_experiment_goes_by_the_best_epoch_of_the_monitored_metric(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    client = MlflowClient(uri)
    experiment = client.create_experiment("e", artifact_location=str(tmp_path / "artifacts"))
    folders = []
    for number, curve in enumerate(([0.9, 0.2, 0.8], [0.9, 0.6, 0.5])):  # the first is better at its best, not its end
        folder = tmp_path / f"run{number}"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "best.ckpt").write_bytes(b"PK")
        made = client.create_run(experiment, tags={"lantu.run_dir": str(folder)})
        client.log_param(made.info.run_id, "callbacks.checkpoint.monitor", "val/loss")
        for step, value in enumerate(curve):
            client.log_metric(made.info.run_id, "val/loss", value, step=step)
        client.set_terminated(made.info.run_id)
        folders.append(folder)
    assert find_checkpoint("best:e", store=tmp_path, tracking_uri=uri).parent.parent == folders[0]


def test_more_accuracy_is_better_without_saying_so() -> None:
    assert BestCheckpoints(monitor="val/accuracy").mode == EarlyStopping(monitor="val/accuracy").mode == "max"
    assert BestCheckpoints(monitor="val/loss").mode == EarlyStopping().mode == "min"
    assert BestCheckpoints(monitor="val/accuracy", mode="min").mode == "min"


def test_a_direction_found_late_is_used() -> None:
    stopping, checkpoint = EarlyStopping(monitor="val/power", min_delta=0.1), BestCheckpoints(monitor="val/power")
    for each in (stopping, checkpoint):
        assert not each.has_mode
        each.use_mode("max")
        assert each.mode == "max"
    assert stopping.min_delta == 0.1
    assert checkpoint.check_monitor_top_k(None, torch.tensor(0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["callbacks.checkpoint.monitor=val/acuracy"], "Did you mean `val/accuracy`"),
        (["callbacks=[default,early_stopping]", "callbacks.early_stopping.monitor=val/los"], "Did you mean `val/loss`"),
        (["callbacks=[default,early_stopping]", "trainer.limit_val_batches=0"], "never validates"),
    ],
)
def test_a_monitor_that_is_not_logged_is_refused_before_training(
    overrides: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        trained(tmp_path, "logger=none", *overrides)
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_run_stores_its_predictions_at_the_best_epoch_and_compare_uses_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for lr in (0.001, 0.003):
        for seed in (0, 1):
            chosen = ("trainer.max_epochs=2", "trainer.limit_train_batches=3", f"optimizer.lr={lr}", f"seed={seed}")
            result = trained(tmp_path, *chosen)
    for split in ("val", "test"):
        frame = pd.read_parquet(result.run_dir / "predictions" / f"{split}.parquet")
        name = f"{split}/accuracy_best" if split == "val" else f"{split}/accuracy"
        assert (frame["target"] == frame["prediction"]).mean() == pytest.approx(result.metrics[name], abs=1e-6)
        loss = result.metrics["val/loss_best" if split == "val" else "test/loss"]
        assert frame["loss"].mean() == pytest.approx(loss, rel=1e-4)
        assert frame["row"].is_unique
    report = tmp_path / "report.html"
    store = f"tracking_uri={new_store(tmp_path / 'mlruns')}"
    assert main(["sync", "--store", str(tmp_path / "mlruns")]) == 0
    assert main(["compare", "experiment=digits", store, f"report={report}", "metric=val/accuracy"]) == 0
    assert "finite set of 180 examples" in capsys.readouterr().out.replace("\n", " ").replace("  ", " ")
    text = report.read_text(encoding="utf-8")
    for part in ("Example by example", "McNemar", "Reliability", "true class by row"):
        assert part in text


def test_predictions_are_bounded_and_can_be_left_out(tmp_path: Path) -> None:
    few = trained(tmp_path, "trainer.max_epochs=1", "callbacks.predictions.most_rows=50", "logger=none")
    assert len(pd.read_parquet(few.run_dir / "predictions" / "val.parquet")) == 50
    none = trained(tmp_path, "trainer.max_epochs=1", "callbacks.predictions=null", "logger=none", "seed=1")
    assert not (none.run_dir / "predictions").exists()


@pytest.mark.parametrize("lean", [True, False])
def test_an_incomplete_window_of_accumulated_batches_counts_as_what_it_holds(lean: bool, tmp_path: Path) -> None:
    weights = []
    for number, size in enumerate((64, 32)):
        result = trained(
            tmp_path / str(number), f"data.batch_size={size}", f"trainer.accumulate_grad_batches={64 // size}",
            "trainer.max_epochs=1", "optimizer=sgd", "optimizer.lr=0.5", "trainer.limit_train_batches=1.0",
            "logger=none", "test=false", f"lean={str(lean).lower()}", "callbacks.checkpoint=null",
        )  # fmt: skip
        weights.append(torch.cat([each.detach().flatten() for each in result.module.net.parameters()]))  # type: ignore[operator, union-attr]
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)
