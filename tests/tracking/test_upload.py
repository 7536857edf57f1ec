"""What arrives in MLflow; uploaded in this process, to a real SQLite store."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from sqlalchemy import QueuePool, create_engine
from sqlalchemy.exc import TimeoutError

from lantu.tracking import RunLogger, embedded_uri, from_mlflow
from lantu.tracking.destination import Destination
from lantu.tracking.run_folder import RunFolder, UploadProgress
from lantu.tracking.upload import upload_once

OpenRun = Callable[..., RunLogger]


def upload(logger: RunLogger) -> tuple[MlflowClient, Run]:
    folder = RunFolder(logger.run_dir)
    assert upload_once(folder, logger.tracking_uri) is None, folder.log.read_text()
    client = MlflowClient(logger.tracking_uri)
    assert logger.run_id is not None
    return client, client.get_run(logger.run_id)


def artifacts(client: MlflowClient, run: Run, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for each in client.list_artifacts(run.info.run_id, path):
        found |= artifacts(client, run, each.path) if each.is_dir else {each.path}
    return found


def read(client: MlflowClient, run: Run, path: str) -> str:
    return Path(client.download_artifacts(run.info.run_id, path)).read_text()


def test_everything_logged_arrives_with_its_time_and_step(open_run: OpenRun, tmp_path: Path) -> None:
    logger = open_run(tags={"team": "risk"})
    logger.log_params(
        {"optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}, "name": "x", "nothing": None, "empty": [], "e": {}}
    )
    for step in range(2500):
        logger.log_metrics({"train/loss": 1 / (step + 1), "train/accuracy": torch.tensor(0.5)}, step)
    logger.log_metrics({"val/loss": np.float32(0.25), "val/n": 3, "val/ok": True}, 2500)
    logger.log_tags({"note": "a"})
    logger.log_tags({"note": "b"})
    (tmp_path / "figure.png").write_bytes(b"png")
    logger.log_artifact(tmp_path / "figure.png", "figures")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "file.bin").write_bytes(b"\0" * 100)
    logger.log_artifact(tmp_path / "folder")
    logger.log_dict({"a": 1}, "config/a.json")
    logger.log_table({"x": [1, 2], "y": ["a", "b"]}, "tables/t.json")
    logger.log_input(name="digits", digest="abc", source_type="code", source="{}", context="training")
    (tmp_path / "figure.png").write_bytes(b"changed afterwards")
    logger.close()

    client, run = upload(logger)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run a"
    assert run.data.params == {
        "optimizer.lr": "0.1",
        "optimizer.betas": "[0.9, 0.999]",
        "name": "x",
        "nothing": "None",
        "empty": "[]",
        "e": "{}",
    }
    assert run.data.tags["team"] == "risk"
    assert run.data.tags["note"] == "b"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(step, 1 / (step + 1)) for step in range(2500)]
    journal = [json.loads(line) for line in (logger.run_dir / "journal" / "records.jsonl").read_text().splitlines()]
    assert [each.timestamp for each in history] == [
        each["t"] for each in journal if "train/loss" in each.get("values", {})
    ]
    assert run.data.metrics["val/loss"] == 0.25
    assert run.data.metrics["val/ok"] == 1.0
    assert artifacts(client, run) == {"figures/figure.png", "folder/deep/file.bin", "config/a.json", "tables/t.json"}
    assert read(client, run, "figures/figure.png") == "png"
    assert json.loads(read(client, run, "tables/t.json")) == {"columns": ["x", "y"], "data": [[1, "a"], [2, "b"]]}
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "tables/t.json", "type": "table"}]
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, given.tags[0].value) == ("digits", "abc", "training")
    assert not list((logger.run_dir / "journal" / "spool").iterdir())


@pytest.mark.slow
def test_twice_is_once_even_when_the_acknowledgement_was_lost(open_run: OpenRun) -> None:
    logger = open_run()
    for step in range(1200):
        logger.log_metrics({"a": step % 3, "nan": math.nan, "inf": math.inf}, step)
    logger.log_params({"p": 1})
    logger.log_text("text", "a.txt")
    logger.close()
    client, run = upload(logger)
    folder = RunFolder(logger.run_dir)
    for earlier in (
        UploadProgress(run_id=run.info.run_id),
        UploadProgress(run_id=run.info.run_id, offset=20_000),
        UploadProgress(),
    ):
        # killed between MLflow's commit and our note of it; in the last case even before the run's id was noted
        folder.keep(earlier)
        _, again = upload(logger)
        assert again.info.run_id == run.info.run_id
    for name in ("a", "nan", "inf"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [each.step for each in history] == list(range(1200))
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_nan_and_infinities_arrive_as_such(open_run: OpenRun) -> None:
    logger = open_run()
    logger.log_metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf, "tensor": torch.tensor(math.nan)}, 1)
    logger.close()
    _, run = upload(logger)
    assert math.isnan(run.data.metrics["nan"])
    assert math.isnan(run.data.metrics["tensor"])
    # an SQL store keeps infinities as the largest doubles; MLflow does so for every client
    assert run.data.metrics["inf"] >= 1.797e308
    assert run.data.metrics["minus"] <= -1.797e308


def test_long_values_are_whole_in_an_artifact_and_shortened_in_the_ui(open_run: OpenRun) -> None:
    logger = open_run()
    logger.log_hyperparams({"model": {"text": "x" * 300, "long": "y" * 7000}})
    logger.log_tags({"story": "z" * 9000})
    logger.close()
    client, run = upload(logger)
    assert run.data.params["model.text"] == "x" * 300
    assert len(run.data.params["model.long"]) == 6000
    assert "whole in the artifact params/model.long.txt" in run.data.params["model.long"]
    assert read(client, run, "params/model.long.txt") == "y" * 7000
    assert read(client, run, "tags/story.txt") == "z" * 9000


def test_names_that_mlflow_refuses_are_mapped_and_can_be_mapped_back(open_run: OpenRun) -> None:
    names = ["accuracy@5", "a//b", "../x", "loss[0]", "_x40_", "n" * 300]
    logger = open_run()
    logger.log_metrics(dict.fromkeys(names, 1.0), 0)
    logger.log_params(dict.fromkeys(names, "v"))
    logger.close()
    _, run = upload(logger)
    for kept in (run.data.metrics, run.data.params):
        back = {from_mlflow(name) for name in kept}
        assert back >= set(names[:-1])
    whole = [value for name, value in run.data.tags.items() if name.startswith("lantu.name.")]
    assert whole == [names[-1]]


def test_parameters_only_grow_and_a_change_on_resume_is_a_tag(open_run: OpenRun) -> None:
    first = open_run()
    first.log_params({"lr": 0.1, "seed": 1})
    first.log_metrics({"a": 1.0}, 1)
    first.close("FAILED")
    _, run = upload(first)
    assert run.info.status == "FAILED"

    resumed = open_run()
    resumed.log_params({"lr": 0.2, "seed": 1, "new": "x"})
    resumed.log_metrics({"a": 2.0}, 2)
    assert resumed.uid == first.uid
    _, run = upload(resumed)
    assert run.info.status == "RUNNING"
    resumed.close()
    client, again = upload(resumed)
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert again.data.params == {"lr": "0.1", "seed": "1", "new": "x"}
    assert json.loads(again.data.tags["param_drift"]) == {"lr": {"was": "0.1", "is": "0.2"}}
    assert [each.value for each in client.get_metric_history(run.info.run_id, "a")] == [1.0, 2.0]


def test_an_existing_mlflow_run_can_be_continued_from_another_folder(open_run: OpenRun) -> None:
    first = open_run("a")
    first.log_metrics({"a": 1.0}, 1)
    first.close()
    _, run = upload(first)
    other = open_run("b", run_id=run.info.run_id)
    other.log_metrics({"a": 2.0}, 2)
    other.close()
    client, again = upload(other)
    assert again.info.run_id == run.info.run_id
    assert len(client.get_metric_history(run.info.run_id, "a")) == 2


def test_one_value_that_mlflow_refuses_does_not_keep_back_the_others(open_run: OpenRun) -> None:
    logger = open_run()
    logger.log_metrics({"a": 1.0}, 1)
    client, run = upload(logger)
    to = Destination(logger.tracking_uri)
    begin = RunFolder(logger.run_dir).head()
    assert begin is not None
    to.open(begin, run.info.run_id)
    values = [Metric("a" if step != 5 else "not//normal", float(step), 1, step) for step in range(2, 9)]
    assert to.log(values, {"p": "v"}, {"t": "v"}) == 1
    run = client.get_run(run.info.run_id)
    assert [each.step for each in client.get_metric_history(run.info.run_id, "a")] == [2, 3, 4, 6, 7, 8, 1]
    assert (run.data.params["p"], run.data.tags["t"]) == ("v", "v")


def test_values_are_not_given_up_because_a_server_has_no_connection_free(
    open_run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = open_run()
    logger.log_metrics({"a": 1.0}, 1)
    client, run = upload(logger)
    to = Destination(logger.tracking_uri)
    begin = RunFolder(logger.run_dir).head()
    assert begin is not None
    to.open(begin, run.info.run_id)

    def exhausted(*_: object, **__: object) -> None:
        engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
        try:
            with engine.connect(), engine.connect():
                pass
        except TimeoutError as error:  # as mlflow.store.db.utils does
            raise MlflowException(message=error, error_code=BAD_REQUEST) from error

    with monkeypatch.context() as during:
        during.setattr(to.client, "log_batch", exhausted)
        with pytest.raises(MlflowException, match="QueuePool"):
            to.log([Metric("a", 2.0, 1, 2)], {}, {})
    assert to.log([Metric("a", 2.0, 1, 2)], {}, {}) == 0
    assert len(client.get_metric_history(run.info.run_id, "a")) == 2


def test_text_and_steps_that_a_store_cannot_hold_are_made_to_fit(open_run: OpenRun) -> None:
    logger = open_run()
    logger.log_params({"nul": "a\0b", "half": "\ud800", "\0": 1})
    logger.log_metrics({"a": 1.0}, 2**70)
    logger.close()
    client, run = upload(logger)
    assert run.data.params == {"nul": "a␀b", "half": "?", "_x00_": "1"}
    assert client.get_metric_history(run.info.run_id, "a")[0].step == 2**63 - 1


def test_credentials_reach_no_parameter_tag_journal_or_log(open_run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "hunter2-from-env")
    logger = open_run(
        tracking_uri="http://me:hunter2@127.0.0.1:9/",
        run_name="db.password=hunter2",
        tags={"mlflow.source.name": "train.py --password hunter2"},
    )
    logger.log_params(
        {"db": {"password": "hunter2", "url": "postgresql://me:hunter2@host/db"}, "text": "hunter2-from-env"}
    )
    logger.log_text("password: hunter2\n", "config.yaml")
    (logger.run_dir / "config.yaml").write_text("api_key: hunter2\n")
    logger.log_artifact(logger.run_dir / "config.yaml")
    logger.log_input(name="x", digest="y", source="s3://hunter2@bucket")
    logger.close()
    assert upload_once(RunFolder(logger.run_dir), logger.tracking_uri)  # refused, and the reason names the address
    for file in (logger.run_dir / "journal").rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file


def test_a_run_deleted_in_mlflow_is_left_alone(open_run: OpenRun) -> None:
    logger = open_run()
    logger.log_metrics({"a": 1.0}, 1)
    client, run = upload(logger)
    client.delete_run(run.info.run_id)
    logger.log_metrics({"a": 2.0}, 2)
    logger.close()
    assert "was deleted in MLflow" in str(upload_once(RunFolder(logger.run_dir), logger.tracking_uri))


def test_a_store_that_was_lost_gets_the_whole_run_again(open_run: OpenRun, store: Path) -> None:
    logger = open_run()
    logger.log_metrics({"a": 1.0}, 1)
    logger.close()
    upload(logger)
    for name in ("mlflow.db", "mlflow.db.lock"):
        (store / name).unlink()
    import mlflow.tracking._tracking_service.utils as service

    service._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    client, run = upload(logger)
    assert [each.value for each in client.get_metric_history(run.info.run_id, "a")] == [1.0]
    assert run.info.status == "FINISHED"


def test_the_embedded_store_keeps_artifacts_beside_its_database(open_run: OpenRun, store: Path) -> None:
    logger = open_run()
    logger.log_text("x", "a.txt")
    logger.close()
    _, run = upload(logger)
    assert logger.tracking_uri == embedded_uri(store)
    assert Path(run.info.artifact_uri).is_relative_to(store / "artifacts")
