"""Training processes that end in every way, with their real uploaders."""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lantu.cli.runs import runs_main, sync_main
from lantu.tracking import RunLogger, embedded_uri
from lantu.tracking.run_folder import RunFolder, run_folders
from tests.tracking.conftest import Process, Server, until

Start = Callable[..., Process]


def the_run(store: Path, uri: str | None = None) -> tuple[MlflowClient, Run]:
    client = MlflowClient(uri or embedded_uri(store))
    experiment = client.get_experiment_by_name("test")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def steps(store: Path, uri: str | None = None) -> list[int]:
    client, run = the_run(store, uri)
    return [each.step for each in client.get_metric_history(run.info.run_id, "a")]


def train(store: Path, how: str = "", uri: str | None = None, count: int = 100) -> None:
    logger = RunLogger(run_dir=store / "runs" / "a", experiment="test", tracking_uri=uri)
    for step in range(count):
        logger.log_metrics({"a": 0.5}, step)
    if how == "exception":
        raise RuntimeError("CUDA out of memory")
    if how == "wait":
        print("waiting")
        time.sleep(100)


@pytest.mark.parametrize(
    ("how", "number", "status"),
    [
        ("", None, "FINISHED"),
        ("exception", None, "FAILED"),
        ("wait", signal.SIGINT, "KILLED"),
        ("wait", signal.SIGTERM, "KILLED"),
        ("wait", signal.SIGKILL, "KILLED"),
    ],
)
def test_a_run_ends_in_mlflow_as_its_process_ended(
    store: Path, start: Start, how: str, number: int | None, status: str
) -> None:
    process = start(train, store, how)
    if number is not None:
        until(lambda: "waiting" in process.text())
        process.signal(number)
    process.wait()
    until((store / "runs" / "a" / "journal" / "shipped.json").exists)
    until(RunFolder(store / "runs" / "a").is_uploaded)
    assert the_run(store)[1].info.status == status
    assert steps(store) == list(range(100))


def _write_until_killed(store: Path, uri: str | None) -> None:
    logger = RunLogger(run_dir=store / "runs" / "a", experiment="test", tracking_uri=uri)
    acknowledged = os.open(store / "acknowledged", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    step = 0
    while True:
        logger.log_metrics({"a": step * 0.5, "b": 1.0}, step)
        os.write(acknowledged, b"%d\n" % step)
        if step == 0:
            assert logger._live.uploader is not None
            (store / "uploader.pid").write_text(str(logger._live.uploader._process.pid))
        step += 1
        time.sleep(0.0005)


def _kill_everything(store: Path, process: Process) -> None:
    process.kill_group()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int((store / "uploader.pid").read_text()), signal.SIGKILL)


def check_exactly_once(store: Path, uri: str | None = None) -> int:
    acknowledged = [int(line) for line in (store / "acknowledged").read_text().split()]
    client, run = the_run(store, uri)
    for name in ("a", "b"):
        arrived = sorted(each.step for each in client.get_metric_history(run.info.run_id, name))
        # the call that was interrupted may have written its record without having returned
        assert arrived in (acknowledged, [*acknowledged, len(acknowledged)])
    assert run.info.status == "KILLED"
    return len(acknowledged)


def test_sigkill_of_everything_loses_nothing_and_sync_ends_the_run(
    store: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(_write_until_killed, store, None)
    until((store / "uploader.pid").exists)
    time.sleep(4)
    _kill_everything(store, process)
    assert runs_main(["--store", str(store)]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert runs_main(["--store", str(store), "--repair"]) == 0
    assert check_exactly_once(store) > 1000
    assert sync_main(["--store", str(store)]) == 0
    assert "is synced" in capsys.readouterr().out
    check_exactly_once(store)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_sigkills_at_random_moments_lose_nothing(tmp_path: Path, start: Start, server: Server) -> None:
    dice, total = random.Random(0), 0
    for number in range(5):
        stores = {tmp_path / f"{number}-database": None, tmp_path / f"{number}-server": server.uri}
        processes = {}
        for store, uri in stores.items():
            store.mkdir()
            processes[store] = start(_write_until_killed, store, uri)
        for store in stores:
            until((store / "uploader.pid").exists)
            # while the uploader starts, creates the run, uploads, waits
            time.sleep(dice.uniform(number, number + 1) / 2)
            _kill_everything(store, processes[store])
        for store, uri in stores.items():
            assert sync_main(["--store", str(store)]) == 0
            total += check_exactly_once(store, uri)
            assert sync_main(["--store", str(store)]) == 0
            check_exactly_once(store, uri)
            if uri:
                client, run = the_run(store, uri)
                client.delete_run(run.info.run_id)
    print(f"10 kills, {total} acknowledged calls, all in MLflow once", file=sys.stderr)


def test_the_next_start_uploads_what_an_earlier_run_left_behind(store: Path, start: Start) -> None:
    left = start(_write_until_killed, store, None)
    until((store / "uploader.pid").exists)
    time.sleep(1)
    _kill_everything(store, left)
    assert not RunFolder(store / "runs" / "a").is_uploaded()
    next_one = start(_train_elsewhere, store)
    assert next_one.wait() == 0, next_one.text()
    until(RunFolder(store / "runs" / "a").is_uploaded, 60)


def _train_elsewhere(store: Path) -> None:
    logger = RunLogger(run_dir=store / "runs" / "b", experiment="other")
    logger.log_metrics({"a": 0.5}, 0)
    logger.close()


def test_a_killed_uploader_is_replaced_at_the_end(store: Path, start: Start) -> None:
    process = start(_train_and_lose_the_uploader, store)
    assert process.wait() == 0, process.text()
    until(
        RunFolder(store / "runs" / "a").is_uploaded, 60
    )  # a busy machine's uploader may outlast the training's patience
    assert steps(store) == list(range(50))
    assert the_run(store)[1].info.status == "FINISHED"


def _train_and_lose_the_uploader(store: Path) -> None:
    logger = RunLogger(run_dir=store / "runs" / "a", experiment="test")
    for step in range(50):
        logger.log_metrics({"a": 0.5}, step)
    assert logger._live.uploader is not None
    logger._live.uploader._process.kill()


@pytest.mark.slow
def test_without_a_server_training_ends_the_same_and_says_once_what_waits(
    tmp_path: Path, start: Start, server_to_stop: Server
) -> None:
    store = tmp_path / "mlruns"
    process = start(train, store, "", server_to_stop.uri)
    assert process.wait(30) == 0, process.text()
    assert process.text().count("Nothing is lost") == 1
    assert process.text().count("\n") == 1
    assert f"`lantu sync --store {store}` uploads it" in process.text()
    assert sync_main(["--store", str(store)]) == 1

    server_to_stop.start()
    begun = run_folders(store)[0].head()
    assert begun is not None
    until(lambda: sync_main(["--store", str(store)]) == 0, 30)
    _, run = the_run(store, server_to_stop.uri)
    assert steps(store, server_to_stop.uri) == list(range(100))
    assert run.info.status == "FINISHED"
    assert run.info.start_time == begun["t"]
    assert sync_main(["--store", str(store)]) == 0
    assert steps(store, server_to_stop.uri) == list(range(100))


def _train_through_an_outage(store: Path, uri: str) -> None:
    logger = RunLogger(run_dir=store / "runs" / "a", experiment="test", tracking_uri=uri)
    logger.log_metrics({"a": 0.5}, 0)
    assert logger.wait_for_run_id(40)
    print("begun")
    slowest = 0.0
    for step in range(1, 1000):
        begun = time.perf_counter()
        logger.log_metrics({"a": 0.5}, step)
        slowest = max(slowest, time.perf_counter() - begun)
        time.sleep(0.004)
    assert slowest < 5, slowest  # an attempt to reach the server takes longer
    logger.log_text("at the end", "note.txt")


@pytest.mark.slow
def test_a_server_that_stops_in_the_middle_and_comes_back_has_everything(
    tmp_path: Path, start: Start, server_to_stop: Server
) -> None:
    store = tmp_path / "mlruns"
    server_to_stop.start()
    process = start(_train_through_an_outage, store, server_to_stop.uri)
    until(lambda: "begun" in process.text(), 60)
    server_to_stop.stop()
    assert process.wait(60) == 0, process.text()
    assert process.text().count("Nothing is lost") == 1
    server_to_stop.start()
    until(lambda: sync_main(["--store", str(store)]) == 0, 30)
    client, run = the_run(store, server_to_stop.uri)
    assert steps(store, server_to_stop.uri) == list(range(1000))
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["note.txt"]
    assert run.info.status == "FINISHED"
