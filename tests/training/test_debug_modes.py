"""The debug modes do what their sentence says."""

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer

import lantu
from lantu.errors import UserError
from lantu.training.fit_and_test import validate_short_run

Train = Callable[..., lantu.Result]
QUIET = ("trainer.enable_progress_bar=false", "model=mlp")


def test_one_batch_runs_everything_and_tracks_nothing(train: Train) -> None:
    result = train("debug=one_batch", *QUIET)
    assert result.run_id is None
    assert not (result.run_dir / "journal").exists()
    assert "test/loss" in result.metrics


def test_overfit_learns_one_batch_by_heart(train: Train) -> None:
    quickly = ("trainer.max_epochs=30", "optimizer.lr=0.01", "trainer.check_val_every_n_epoch=30", "save_model=false")
    result = train("debug=overfit", *quickly, "logger.mlflow.ship=false", *QUIET)
    assert result.metrics["train/loss_epoch"] < 0.01


def test_limited_is_a_short_run_over_part_of_the_data(train: Train) -> None:
    result = train("debug=limited", "trainer.limit_train_batches=2", "logger.mlflow.ship=false", *QUIET)
    assert torch.load(result.run_dir / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4


def test_anomaly_names_the_operation_that_made_a_nan(train: Train) -> None:
    with pytest.raises(RuntimeError, match="returned nan values"):
        train("debug=anomaly", "optimizer=sgd", "optimizer.lr=1e38", "logger.mlflow.ship=false", *QUIET)


def test_profile_leaves_a_trace_that_a_browser_can_open(train: Train) -> None:
    result = train(
        "debug=profile",
        "trainer.limit_train_batches=6",
        "trainer.limit_val_batches=1",
        "logger.mlflow.ship=false",
        *QUIET,
    )
    traces = list((result.run_dir / "profile").glob("*.json*"))
    assert traces
    assert json.loads(traces[0].read_text())["traceEvents"]


def test_a_validation_that_would_never_come_is_refused() -> None:
    trainer = Trainer(val_check_interval=6, max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    data = SimpleNamespace(train_dataloader=lambda: range(5))
    with pytest.raises(UserError, match="an epoch has 5 batches"):
        validate_short_run(trainer, data)  # type: ignore[arg-type]
    trainer.check_val_every_n_epoch = None
    validate_short_run(trainer, data)  # type: ignore[arg-type]
