"""What a run promises: repeatable, recorded, found in MLflow, and every usual option has its effect."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient

import lantu
from lantu.errors import UserError
from lantu.tracking.columns import MOST_METRICS, MOST_PARAMS
from lantu.tracking.further import metrics_of, params_of
from tests.conftest import SHORT, mlflow_run_of

Train = Callable[..., lantu.Result]
PLAIN = (
    "model=mlp", "optimizer.lr=0.01", "test=false", "save_model=false", "trainer.max_steps=3",
    "trainer.limit_val_batches=1", "callbacks.cost=null", "callbacks.predictions=null",
)  # fmt: skip


def recorded(result: lantu.Result) -> dict[str, list[tuple[int, float]]]:
    """The metrics in a run's journal: name to (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (result.run_dir / "journal" / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["values"].items() if record["kind"] == "metrics" else ():
            found.setdefault(name, []).append((record["step"], value))
    return found


def test_the_default_run_learns_the_digits_and_all_of_it_is_in_mlflow(tmp_path: Path, train: Train) -> None:
    result = train("trainer.max_epochs=4", pictures=True, upload=True)
    assert result.metrics["test/accuracy"] >= 0.95
    run_id = mlflow_run_of(result)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")  # would make a database where there is none yet
    assert result.run_id in (run_id, None)  # None: not within the patience of a run
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cnn digits max_epochs=4"
    leaves = {"optimizer.lr": "0.001", "data.batch_size": "64", "model.activation": "relu", "seed": "0"}
    assert leaves.items() <= run.data.params.items()
    stages = {
        f"{stage}/{name}" for stage in ("val", "test") for name in ("accuracy", "f1", "auroc", "precision", "recall")
    }
    assert stages | {"train/loss", "train/lr", "val/loss", "model/parameters"} <= metrics_of(run).keys()
    assert len(run.data.params) <= MOST_PARAMS < len(params_of(run))
    assert len(run.data.metrics) <= MOST_METRICS < len(metrics_of(run))
    assert run.data.metrics["test/accuracy"] == pytest.approx(result.metrics["test/accuracy"], abs=1e-6)
    assert len({each.step for each in client.get_metric_history(run_id, "val/loss")}) == 4
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"digits (scikit-learn)"}
    assert len(run.inputs.dataset_inputs) == 3
    tags = run.data.tags
    assert {"lantu.data", "lantu.model", "lantu.host", "lantu.device", "mlflow.source.git.commit"} <= tags.keys()
    described = tags["mlflow.note.content"]
    assert described.startswith("    lantu train ")
    assert " trainer.max_epochs=4" in described
    assert re.search(rf"^\| accuracy \| .+ \| {result.metrics['test/accuracy']:.4g} \|$", described, re.MULTILINE)
    kept = {
        file.path
        for folder in ("", "config", "figures", "checkpoints", "model")
        for file in client.list_artifacts(run_id, folder)
    }
    assert {
        "config/config.yaml", "config/packages.txt", "config/data.json", "figures/learning_curve.png",
        "figures/confusion.png", "figures/roc.png", "figures/precision_recall.png", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", "model/MLmodel",
    } <= kept  # fmt: skip
    assert not any("last-1" in each for each in kept)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train_shortly: Train) -> None:
    weights = [_weights(train_shortly("model=mlp", f"seed={seed}")) for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_training_seed_does_not_change_the_split(train_shortly: Train) -> None:
    runs = [train_shortly("model=linear", f"seed={seed}") for seed in (1, 2)]
    assert runs[0].data.fingerprints == runs[1].data.fingerprints
    other = train_shortly("model=linear", "data.split_seed=1")
    assert other.data.fingerprints != runs[0].data.fingerprints


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """What a run without any option learns."""
    folder = tmp_path_factory.mktemp("plain")
    return _weights(lantu.run(lantu.compose(f"paths.root={folder}", *SHORT, *PLAIN, "++callbacks.figures=null")))


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("optimizer=sgd", True), ("optimizer=adam", True), ("optimizer=lion", True), ("optimizer=muon", True),
        ("optimizer=rmsprop", True), ("optimizer.lr=0.1", True), ("optimizer.weight_decay=0.5", True),
        ("task.l1=0.1", True), ("task.label_smoothing=0.2", True), ("model.dropout=0.5", True),
        ("model.activation=tanh", True), ("init=he", True), ("init=xavier", True), ("init=orthogonal", True),
        ("trainer.gradient_clip_val=0.01 trainer.precision=bf16-mixed", True),
        ("trainer.gradient_clip_val=0.01", True), ("data.batch_size=16", True), ("trainer.precision=bf16-mixed", True),
        ("task.class_weights=[1,2,1,1,1,1,1,1,1,9]", True), ("scheduler=cosine", True), ("scheduler=one_cycle", True),
        ("trainer.accumulate_grad_batches=2", True), ("callbacks=[default,ema]", True),
        ("scheduler=plateau", False), ("scheduler=wsd scheduler.decay=0.9", True), ("name=another", False),
    ],
)  # fmt: skip
def test_an_option_has_its_effect_on_the_weights_or_none(
    train_shortly: Train, plain_weights: torch.Tensor, override: str, differs: bool
) -> None:
    changed = _weights(train_shortly(*PLAIN, *override.split()))
    assert torch.isfinite(changed).all()
    assert torch.equal(plain_weights, changed) is not differs


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(train: Train) -> None:
    result = train("model=mlp", "trainer.max_epochs=6", "optimizer.lr=0.03", "logger.mlflow.ship=false")
    losses = dict(recorded(result)["val/loss"])
    checkpoint = torch.load(result.run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    assert losses[checkpoint["global_step"] - 1] == min(losses.values())
    assert (result.run_dir / "checkpoints" / "last.ckpt").is_file()


def test_early_stopping_ends_a_run_that_no_longer_improves(train: Train) -> None:
    stopping = ("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1")
    result = train("model=linear", "optimizer.lr=0.3", "trainer.max_epochs=60", "logger.mlflow.ship=false", *stopping)
    assert len(recorded(result)["val/loss"]) < 60


def test_a_run_shorter_than_an_epoch_is_validated_at_its_end(train_shortly: Train) -> None:
    result = train_shortly("model=linear")
    assert [step for step, _ in recorded(result)["val/loss"]] == [1]
    assert result.best_checkpoint is not None


def test_a_run_keeps_its_config_from_which_it_can_be_made_again(train_shortly: Train) -> None:
    result = train_shortly("model=mlp", "model.hidden=[7]")
    config = yaml.safe_load((result.run_dir / "config.yaml").read_text())
    assert config["model"]["hidden"] == [7]
    assert config["spec"]["classes"] == 10
    assert "${" not in (result.run_dir / "config.yaml").read_text()


def test_class_counts_are_balanced_when_asked(train_shortly: Train) -> None:
    result = train_shortly("data=breast_cancer", "model=linear", "task.class_weights=balanced")
    counts = np.array(result.data.spec["class_counts"])
    assert result.module.class_weights.numpy() == pytest.approx(counts.sum() / (2 * counts))


@pytest.mark.parametrize("loggers", ["tensorboard", "csv", "[mlflow,csv,tensorboard]", "none"])
def test_other_loggers_work_alone_and_together(train: Train, tmp_path: Path, loggers: str) -> None:
    short = [each for each in SHORT if not each.startswith("logger") or "mlflow" in loggers]
    result = train(*short, "model=linear", f"logger={loggers}")
    files = {file.name for file in result.run_dir.rglob("*")}
    assert ("metrics.csv" in files) is ("csv" in loggers)
    assert any("tfevents" in name for name in files) is ("tensorboard" in loggers)
    assert ("records.jsonl" in files) is ("mlflow" in loggers)


def test_a_number_of_outputs_that_the_task_cannot_use_is_refused(train_shortly: Train) -> None:
    with pytest.raises(UserError, match=r"`model\.outputs=3`: Classification needs 10 outputs"):
        train_shortly("model=linear", "model.outputs=3")


def test_empty_lists_of_loggers_and_callbacks_are_none_of_them(train: Train) -> None:
    short = [each for each in SHORT if not each.startswith(("logger", "callbacks"))]
    result = train(*short, "model=linear", "logger=[]", "callbacks=[]", "trainer.max_steps=3")
    assert result.metrics["train/loss"] > 0
    assert not (result.run_dir / "journal").exists()


def test_two_runs_in_one_notebook_do_not_share_a_folder(train_shortly: Train) -> None:
    assert len({train_shortly("model=linear").run_dir for _ in range(2)}) == 2


def _weights(result: lantu.Result) -> Any:
    return torch.cat([each.detach().flatten() for each in result.module.net.parameters()])


def test_a_run_whose_epochs_are_cut_short_validates_by_its_own_clock(train: Train) -> None:
    result = train(
        "model=mlp", "trainer.max_steps=8", "trainer.limit_train_batches=5", "test=false", "save_model=false"
    )
    assert result.module.trainer.global_step == 8
    assert result.metrics["val/loss"] > 0


def test_a_run_may_be_given_time_instead_of_a_length(tmp_path: Path, train: Train) -> None:
    result = train("model=mlp", "trainer.max_epochs=-1", "trainer.max_time=00:00:00:02")
    assert result.metrics["test/accuracy"] > 0.5
