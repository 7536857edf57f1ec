"""The same runs come out of a database and of a server."""

import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from lantu.cli.main import main
from lantu.compare.reading.further_points import further_points
from lantu.compare.reading.prediction_files import read_predictions
from lantu.compare.reading.run_frames import Reader, Runs, Selection, direction, read
from lantu.compare.reading.server import ServerReader
from lantu.compare.reading.stores import open_reader
from lantu.errors import UserError
from tests.compare.made import Made, uri, write

SWEEP = Selection(sweeps=("lr_width",))


@pytest.fixture(scope="module")
def server(store: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        import os
        import signal

        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def same(one: Runs, other: Runs) -> None:
    ids = one.info.index
    assert set(ids) == set(other.info.index)
    other = other.only(ids)
    pd.testing.assert_frame_equal(one.info, other.info, check_dtype=False)
    pd.testing.assert_frame_equal(
        one.params.sort_index(axis=1),
        other.params.sort_index(axis=1),
        check_dtype=False,
        check_names=False,
        check_column_type=False,
    )
    pd.testing.assert_frame_equal(
        one.metrics, other.metrics, check_dtype=False, check_names=False, check_column_type=False
    )
    np.testing.assert_allclose(one.score, other.score)
    np.testing.assert_allclose(one.steps, other.steps)
    assert one.constants == other.constants


def test_a_sweep_is_its_trials_without_the_parent(store: str) -> None:
    runs = read(open_reader(store), SWEEP)
    assert len(runs) == 25
    assert "lr_width" not in set(runs.info["name"])
    assert runs.score.isna().sum() == 1
    assert {"optimizer.lr", "model.width", "seed"} <= set(runs.params)
    assert runs.constants["trainer.precision"] == "32-true"
    assert "trainer.precision" not in runs.params


def test_the_score_is_the_best_point_of_the_curve_not_the_last(store: str) -> None:
    runs = read(open_reader(store), Selection(experiments=("other",)))
    assert runs.score.tolist() == [0.5]
    assert runs.metrics["val/loss"].tolist() == [0.7]
    assert runs.steps.tolist() == [30]


@pytest.mark.slow
def test_a_server_gives_the_same_runs_as_its_database(store: str, server: str) -> None:
    direct, remote = open_reader(store), open_reader(server)
    assert isinstance(remote, ServerReader)
    for selection in (SWEEP, Selection(experiments=("other",)), Selection(filter="metrics.`test/loss` < 0.3")):
        one, other = read(direct, selection), read(remote, selection)
        same(one, other)
        ids = sorted(one.info.index)[:5]
        pd.testing.assert_frame_equal(
            direct.history(ids, ["val/loss", "cost/usd"], points=100),
            remote.history(ids, ["val/loss", "cost/usd"], points=100),
            check_dtype=False,
        )
    assert direct.parent_of("lr_width") == remote.parent_of("lr_width") is not None


def test_mlflow_itself_gives_the_same_runs(store: str) -> None:
    same(read(open_reader(store), SWEEP), read(ServerReader(store), SWEEP))


def test_runs_are_found_by_the_beginning_of_their_id_by_name_and_by_filter(store: str) -> None:
    reader = open_reader(store)
    runs = read(reader, SWEEP)
    first, second = runs.info.index[:2]
    assert set(read(reader, Selection(runs=(first[:12], second))).info.index) == {first, second}
    assert read(reader, Selection(runs=("alone",))).info["experiment"].tolist() == ["other"]
    wide = read(reader, Selection(sweeps=("lr_width",), filter="params.`model.width` = '128'"))
    assert len(wide) == 12
    assert wide.constants["model.width"] == "128"


def test_nothing_named_means_the_newest_sweep_or_experiment(store: str) -> None:
    reader = open_reader(store)
    newest = read(reader, Selection())
    assert newest.info["name"].iloc[-1] in {"alone", *read(reader, SWEEP).info["name"]}


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(sweeps=("lr_widht",)), "Did you mean `lr_width`"),
        (Selection(experiments=("mad",)), "Did you mean `made`"),
        (Selection(runs=("0f0f0f0f0f",)), "no such run"),
        (Selection(filter="params.lr ~ 3"), "cannot read it"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(store: str, selection: Selection, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(open_reader(store), selection)


def test_a_metric_that_no_run_has_is_refused_with_those_they_have(store: str) -> None:
    with pytest.raises(UserError, match=r"Did you mean `val/loss`\? They have: val/accuracy, val/loss"):
        read(open_reader(store), SWEEP, metric="val/los")


def test_a_store_that_is_not_there_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UserError, match="no MLflow store"):
        open_reader(f"sqlite:///{tmp_path_factory.mktemp('none')}/mlflow.db")


def test_long_curves_are_thinned_by_the_database_and_keep_their_ends(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking_uri = uri(tmp_path_factory.mktemp("long"))
    values = list(np.linspace(2, 1, 900))
    (run,) = write(tracking_uri, [Made("long", {"seed": 0}, curves={"val/loss": values})])
    reader: Reader = open_reader(tracking_uri)
    assert len(reader.history([run], ["val/loss"], points=50)) == 900
    monkeypatch.setattr("lantu.compare.reading.sql.MANY", 100)
    thin = reader.history([run], ["val/loss"], points=50)
    assert 45 <= len(thin) <= 60
    assert thin["step"].iloc[[0, -1]].tolist() == [10, 9000]


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val/loss", "min"),
        ("val/accuracy", "max"),
        ("val/rmse", "min"),
        ("cost/usd", "min"),
        ("speed/latency_ms", "min"),
    ],
)
def test_the_better_direction_goes_by_the_name(metric: str, mode: str) -> None:
    assert direction(metric) == mode


def test_a_damaged_store_is_named_in_a_sentence_that_says_how_it_is_made_again(store: str, tmp_path: Path) -> None:
    whole = Path(store.removeprefix("sqlite:///")).read_bytes()
    damaged = tmp_path / "mlflow.db"
    damaged.write_bytes(whole[:100] + bytes(len(whole) // 2 - 100))
    with pytest.raises(UserError, match=r"mlflow.db cannot be read as an MLflow store.*lantu sync --rebuild"):
        read(open_reader(f"sqlite:///{damaged}"), SWEEP, metric="val/loss")
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(UserError, match=r"empty.db cannot be read as an MLflow store: no such table"):
        read(open_reader(f"sqlite:///{empty}"), SWEEP, metric="val/loss")


def test_runs_of_a_store_that_names_no_place_for_files_are_read_without_them(tmp_path: Path) -> None:
    store = uri(tmp_path)
    (run,) = write(store, [Made("imported", {"seed": 0}, {"val/loss": 0.5})])
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("update runs set artifact_uri = null")
        database.commit()
    runs = read(open_reader(store), Selection())
    assert runs.score[run] == 0.5
    groups = pd.Series({run: "imported"})
    assert read_predictions(runs, groups, ["imported"], split="val", tracking_uri=store) == ({}, [])
    assert further_points(store, {run: {"val/f1": 0.5}}, ["val/f1"], points=10) == []


def test_the_newest_experiment_is_one_that_trained_and_not_what_the_monitor_wrote_since(tmp_path: Path) -> None:
    store = uri(tmp_path)
    trained = write(store, [Made("trained", {"seed": seed}, {"val/loss": 0.5}) for seed in range(2)])
    monitored = Made("week.csv", {}, {"monitor/rows": 9}, tags={"lantu.monitored": "last"})
    write(store, [monitored] * 3, experiment="monitoring trained")
    for reader in (open_reader(store), ServerReader(store)):
        assert list(read(reader, Selection()).info.index) == trained


class _Junk(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>a login page</html>")

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


def test_a_server_that_is_no_mlflow_is_a_sentence_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Junk) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://user:a-pass-word@127.0.0.1:{server.server_port}"
        assert main(["compare", f"tracking_uri={uri}"]) == 2
        server.shutdown()
    said = "".join(capsys.readouterr())
    assert "MLflow's store cannot be used" in said
    assert "a-pass-word" not in said
    assert "Traceback" not in said


class _Odd(BaseHTTPRequestHandler):
    """Answers as MLflow does, with one value that no run can have."""

    metric: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        known = {"experiment_id": "1", "name": "exp", "lifecycle_stage": "active"}
        point = {"key": "val/loss", "value": 1.0, "timestamp": 1, "step": 1, "run_id": "a" * 32, **self.metric}
        info = {"run_id": "a" * 32, "experiment_id": "1", "status": "FINISHED", "lifecycle_stage": "active"}
        run = {"info": info, "data": {"metrics": [{**point, "value": point["value"] or 1.0}]}}
        content = json.dumps(
            {"experiments": [known], "experiment": known, "runs": [run], "run": run, "metrics": [point]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("metric", [{"step": "x"}, {"step": 10**30}, {"value": None}, {"value": 10**400}, {"key": 5}])
def test_values_that_no_run_can_have_are_a_sentence(
    metric: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_Odd, "metric", metric)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        assert main(["compare", f"tracking_uri=http://127.0.0.1:{server.server_port}"]) == 2
        server.shutdown()
    assert "the MLflow server's answer cannot be used" in capsys.readouterr().err
