"""MLflow shows the settings and metrics that a person looks for; the others are kept, and comparisons read them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from lantu.compare.reading.run_frames import Selection, read
from lantu.compare.reading.server import ServerReader
from lantu.compare.reading.sql import SqlReader
from lantu.tracking import RunLogger
from lantu.tracking.columns import MOST_METRICS, MOST_PARAMS, MetricColumns, parameter_columns
from lantu.tracking.further import METRICS, from_tags, metrics_of, params_of, to_tags
from lantu.tracking.run_folder import RunFolder
from lantu.tracking.upload import upload_once
from tests.stores import new_store

OpenRun = Callable[..., RunLogger]
STAGES = {
    "train": ["loss", "accuracy", "loss_epoch", "lr"],
    "val": ["loss", "accuracy", "auroc", "f1", "precision", "recall", "ece", "accuracy/slice/region/north"],
    "test": ["loss", "accuracy", "auroc", "f1", "precision", "recall", "ece", "brier"],
    "cost": ["usd", "kwh", "co2e_kg", "device_hours", "flops", "samples", "peak_memory_gib"],
    "speed": ["samples_per_second", "latency_ms", "step_ms", "tokens_per_second", "waiting_for_data"],
    "system": ["cpu_percent", "memory_gib"],
    "model": ["parameters"],
    "privacy": ["epsilon"],
}
LOGGED = [f"{stage}/{name}" for stage, names in STAGES.items() for name in names] + ["epoch", "val/loss_best"]


@pytest.mark.parametrize("monitor", ["val/loss", "val/auroc", "val/wer"])
def test_at_most_22_metrics_of_a_run_are_columns_and_those_that_decide_are_among_them(monitor: str) -> None:
    stages: dict[str, list[str]] = {}
    for name in [*LOGGED, monitor, monitor.replace("val/", "test/")]:
        stages.setdefault(name.partition("/")[0], []).append(name)
    columns = MetricColumns(monitor)
    shown = set().union(*(columns.admit(names) for names in stages.values()))
    assert len(shown) <= MOST_METRICS
    assert {monitor, monitor.replace("val/", "test/"), "val/loss", "test/loss", "train/loss", "cost/usd"} <= shown
    assert {"speed/samples_per_second", "model/parameters", "privacy/epsilon"} <= shown
    assert not {"epoch", "val/loss_best", "system/cpu_percent", "val/accuracy/slice/region/north"} & shown
    assert columns.admit(["val/accuracy", "val/ece"]) == {"val/accuracy"}, "accuracy is looked for before ece"


def test_a_continued_upload_shows_the_same_metrics() -> None:
    first = MetricColumns("val/loss")
    shown = first.admit(LOGGED)
    assert MetricColumns("val/loss", sorted(shown)).admit(LOGGED) == shown


def test_what_was_typed_is_a_column_and_what_is_not_set_is_none() -> None:
    parameters = {f"model.option_{number}": number for number in range(100)}
    parameters |= {"choices.model": "mlp", "choices.peft": "none", "callbacks.progress.leave": "False"}  # type: ignore[dict-item]
    parameters |= {"model._target_": "lantu.models.MLP", "optimizer.lr": "0.1", "peft": "None", "seed": "3"}  # type: ignore[dict-item]
    shown = parameter_columns(parameters, ["callbacks.progress.leave", "peft", "optimizer.lr"])
    assert len(shown) == MOST_PARAMS
    assert {"callbacks.progress.leave", "peft", "choices.peft", "optimizer.lr", "choices.model", "seed"} <= set(shown)
    assert "model._target_" not in shown


def test_tags_give_back_what_is_put_in_them_however_long() -> None:
    content: dict[str, Any] = {f"metric {number}": [number / 7, number, -1e-9, float("inf")] for number in range(2000)}
    tags = to_tags(METRICS, content)
    assert len(tags) > 1
    assert max(map(len, tags.values())) <= 5000
    assert from_tags(tags, METRICS) == content
    tags.popitem()
    assert from_tags(tags, METRICS) == {}


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store with one run that shows one parameter; its URI and the run's id."""
    store = tmp_path_factory.mktemp("store")
    new_store(store)
    logger = RunLogger(run_dir=store / "runs" / "a", run_name="a", ship=False)
    logger.choose_columns(["seed"], monitor="val/loss")
    logger.log_params({"seed": 1, "model": {"width": 64}, "name": "x"})
    for step, (loss, ece) in enumerate([(0.9, 0.3), (0.4, 0.1), (0.7, 0.2)]):
        logger.log_metrics({"val/loss": loss, "system/cpu_percent": 100 * ece}, step)
    logger.log_metrics({"val/loss_best": 0.4}, 3)
    logger.close()
    folder = RunFolder(logger.run_dir)
    assert upload_once(folder, logger.tracking_uri) is None, folder.log.read_text()
    assert logger.run_id is not None
    return logger.tracking_uri, logger.run_id


def test_mlflow_sorts_by_the_best_epoch_and_keeps_the_curve(uploaded: tuple[str, str]) -> None:
    client = MlflowClient(uploaded[0])
    run = client.get_run(uploaded[1])
    assert run.data.metrics == {"val/loss": 0.4}
    assert run.data.params == {"seed": "1"}
    assert [each.value for each in client.get_metric_history(uploaded[1], "val/loss")] == [0.9, 0.4, 0.7, 0.4]


def test_what_is_no_column_is_in_a_file_and_in_all_that_lantu_reads(uploaded: tuple[str, str], tmp_path: Path) -> None:
    client = MlflowClient(uploaded[0])
    run = client.get_run(uploaded[1])
    assert params_of(run) == {"seed": "1", "model.width": "64", "name": "x"}
    assert metrics_of(run) == {"val/loss": 0.4, "val/loss_best": 0.4, "system/cpu_percent": 20.0}
    points = pd.read_csv(client.download_artifacts(uploaded[1], "metrics.csv", str(tmp_path)))
    assert points.query("metric == 'system/cpu_percent'")["value"].tolist() == [30.0, 10.0, 20.0]


@pytest.mark.parametrize("kind", [SqlReader, ServerReader])
def test_a_comparison_reads_a_run_as_if_all_were_columns(uploaded: tuple[str, str], kind: Any) -> None:
    reader = kind(uploaded[0])
    runs = read(reader, Selection(runs=(uploaded[1],)), metric="system/cpu_percent", mode="min")
    assert runs.score.tolist() == [10.0], "the lowest of all points, not the last"
    assert runs.steps.tolist() == [2.0]
    assert {**runs.constants, **runs.params.iloc[0]} == {"seed": "1", "model.width": "64", "name": "x"}
    assert reader.params_of(uploaded[1])["model.width"] == "64"
    assert reader.metric_names(runs.info) == ["system/cpu_percent", "val/loss", "val/loss_best"]
    curve = reader.history([uploaded[1]], ["system/cpu_percent"], points=100)
    assert curve["value"].tolist() == [30.0, 10.0, 20.0]


def test_a_setting_that_is_a_column_in_one_run_alone_is_compared_in_both(open_run: OpenRun) -> None:
    ids = []
    for name, shown in (("one", ["model.width"]), ("two", ["seed"])):
        logger = open_run(name)
        logger.choose_columns(shown, monitor="val/loss")
        logger.log_params({"seed": 1, "model": {"width": 64 if name == "one" else 32}})
        logger.log_metrics({"val/loss": 0.1}, 0)
        logger.close()
        assert upload_once(RunFolder(logger.run_dir), logger.tracking_uri) is None
        ids.append(str(logger.run_id))
    runs = read(SqlReader(logger.tracking_uri), Selection(runs=tuple(ids)))
    assert runs.params.loc[ids, "model.width"].tolist() == ["64", "32"]
    assert runs.constants == {"seed": "1"}
