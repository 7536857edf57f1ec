"""Many processes log to one store at the same moment, and nothing is lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lantu.cli.runs import sync_main
from lantu.tracking import RunLogger, embedded_uri
from lantu.tracking.run_folder import run_folders
from tests.tracking.conftest import Process, Server, until

Start = Callable[..., Process]
POINTS = 200


def write(store: Path, number: int, uri: str | None, at: float) -> None:
    time.sleep(max(0.0, at - time.time()))  # all of them begin at one moment
    logger = RunLogger(
        run_dir=store / "runs" / str(number), experiment="many", run_name=f"run {number}", tracking_uri=uri
    )
    logger.log_params({"number": number})
    for step in range(POINTS):
        logger.log_metrics({"a": number + step / POINTS, "b": 1.0}, step)
        time.sleep(0.002)
    logger.close("FINISHED")


def check(store: Path, uri: str, writers: int) -> None:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("many")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert sorted(int(run.data.params["number"]) for run in runs) == list(range(writers))
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        number = int(run.data.params["number"])
        history = client.get_metric_history(run.info.run_id, "a")
        assert [(each.step, each.value) for each in history] == [
            (step, number + step / POINTS) for step in range(POINTS)
        ]
    said = "".join(folder.log.read_text() for folder in run_folders(store) if folder.log.exists())
    assert "locked" not in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_eight_processes_create_and_fill_one_sqlite_store_at_the_same_moment(tmp_path: Path, start: Start) -> None:
    store = tmp_path / "mlruns"
    at = time.time() + 1.0
    processes = [start(write, store, number, None, at) for number in range(8)]
    for process in processes:
        assert process.wait(180) == 0, process.text()
        assert "locked" not in process.text()
    until(lambda: sync_main(["--store", str(store)]) == 0, 120)  # their own uploaders may be at it still
    check(store, embedded_uri(store), 8)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_two_processes_fill_a_server_over_postgresql(tmp_path: Path, start: Start, postgresql: str) -> None:
    server = Server(tmp_path / "server", postgresql).start(workers=2)
    try:
        store = tmp_path / "mlruns"
        at = time.time() + 2.0
        processes = [start(write, store, number, server.uri, at) for number in range(32)]
        for process in processes:
            assert process.wait(300) == 0, process.text()
        until(lambda: sync_main(["--store", str(store)]) == 0, 240)
        check(store, server.uri, 32)
    finally:
        server.stop()


@pytest.mark.slow
def test_only_rank_zero_writes(tmp_path: Path) -> None:
    code = (
        "import sys; from lantu.tracking import RunLogger;"
        "logger = RunLogger(run_dir=sys.argv[1], experiment='test', ship=False);"
        "logger.log_metrics({'a': 1.0}, 0); logger.log_params({'b': 2}); logger.log_text('c', 'c.txt'); logger.close()"
    )
    for rank in ("1", "0"):
        environment = {**os.environ, "LOCAL_RANK": rank, "RANK": rank}
        subprocess.run([sys.executable, "-c", code, tmp_path / rank], check=True, env=environment)
    assert not (tmp_path / "1").exists()
    assert (tmp_path / "0" / "journal" / "records.jsonl").is_file()
