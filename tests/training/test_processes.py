"""Real processes: the command line, sweeps, several ranks, first runs at the same moment, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pytorch_lightning import Trainer

from lantu.inference.rebuild import rebuild
from tests.stores import uploaded_runs
from tests.warm import WarmProcess

COMMAND = [
    sys.executable,
    "-m",
    "lantu",
    "train",
    "model=linear",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
]


def start(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LANTU_HOME": str(folder)}
    return WarmProcess(
        [*COMMAND, *overrides],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", seconds: float = 120) -> tuple[int, str]:
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


def runs_of(folder: Path, experiment: str = "digits") -> list[object]:
    uploaded_runs(folder / "mlruns")
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_a_run_shows_its_results_where_they_are_and_what_to_type_next(tmp_path: Path) -> None:
    status, said = finish(start(tmp_path))
    assert status == 0, said
    for part in ("linear digits", "accuracy", "kept in     mlruns/runs/", "MLflow run", "lantu evaluate run=last"):
        assert part in said
    assert "Warning" not in said
    assert "GPU available" not in said


@pytest.mark.slow
def test_two_first_runs_at_the_same_moment_share_one_new_store(tmp_path: Path) -> None:
    both = [start(tmp_path, f"seed={seed}", "callbacks.figures=null") for seed in (1, 2)]
    for status, said in map(finish, both):
        assert status == 0, said
    assert {run.data.params["seed"] for run in runs_of(tmp_path)} == {"1", "2"}
    assert {run.info.status for run in runs_of(tmp_path)} == {"FINISHED"}


@pytest.mark.slow
def test_two_ranks_train_one_model_and_leave_one_run(tmp_path: Path) -> None:
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "optimizer.lr=0.03", "callbacks.figures=null")
    status, said = finish(start(tmp_path, *two), seconds=280)
    assert status == 0, said
    (run,) = runs_of(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy"] > 0.5
    folders = {folder.parent for folder in (tmp_path / "mlruns" / "runs").rglob("checkpoints")}
    assert len(folders) == 1, "a helper rank made a folder of its own"
    # each test example has counted once: one process finds the same, though their number is odd
    alone = rebuild(Path(run.data.tags["lantu.run_dir"]) / "checkpoints" / "best.ckpt")
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (measured,) = trainer.test(alone.task, datamodule=alone.data, verbose=False)
    assert len(alone.data.splits["test"]) % 2 == 1
    for name in ("test/loss", "test/accuracy", "test/f1"):
        assert measured[name] == pytest.approx(run.data.metrics[name], rel=1e-5)


def test_ctrl_c_ends_a_run_as_killed_and_keeps_what_it_has(tmp_path: Path) -> None:
    process = start(tmp_path, "trainer.max_epochs=100000", "logger.mlflow.fsync_seconds=0.1")
    deadline = time.monotonic() + 90
    while not list((tmp_path / "mlruns").rglob("last.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = finish(process)
    assert "Traceback" not in said
    (run,) = runs_of(tmp_path)
    assert run.info.status == "KILLED"
    assert "train/loss" in run.data.metrics


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_a_script_is_the_command_of_its_name(script: str, tmp_path: Path) -> None:
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    done = subprocess.run(
        [sys.executable, scripts / f"{script}.py", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert f"lantu {script}" in done.stdout
