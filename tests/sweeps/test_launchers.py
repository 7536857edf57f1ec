"""Sweeps in processes of their own: killed, interrupted, on workers."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lantu.sweeps.state.sweep_folder import SweepFolder, sweeps_of
from tests.warm import WarmProcess

REPO = Path(__file__).resolve().parents[2]
SHORT = (
    "model=linear", "trainer.max_epochs=2", "save_model=false", "test=false", "sweep.compare=false",
    "callbacks.figures=null",
)  # fmt: skip


def start(folder: Path, *overrides: str, path: str = "") -> subprocess.Popen[str]:
    """A sweep in a process group of its own; `path` comes in front of where Python looks for modules."""
    paths = os.pathsep.join(each for each in (path, os.environ.get("PYTHONPATH", "")) if each)
    return WarmProcess(
        [sys.executable, REPO / "scripts" / "train.py", "-m", *SHORT, *overrides],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LANTU_HOME": str(folder), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def trials_in_mlflow(folder: Path) -> dict[str, list[str]]:
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    found: dict[str, list[str]] = {}
    for run in runs:
        if "lantu.trial" in run.data.tags:
            found.setdefault(run.info.run_name, []).append(run.info.status)
    return found


@pytest.mark.slow
def test_parallel_workers_run_all_trials_under_one_parent(tmp_path: Path) -> None:
    process = start(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2,3", "sweep.name=mine")
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    assert "4 finished" in said
    assert trials_in_mlflow(tmp_path) == {f"seed={seed}": ["FINISHED"] for seed in range(4)}


LAUNCHERS = [
    pytest.param(("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"), id="joblib", marks=pytest.mark.slow),
    pytest.param(("hydra/launcher=submitit_local", "hydra.launcher.n_jobs=2"), id="submitit", marks=pytest.mark.slow),
    pytest.param(("hydra/launcher=ray",), id="ray", marks=[pytest.mark.slow, pytest.mark.xdist_group("ray")]),
]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_worker_that_dies_takes_its_trial_along_and_no_other(launcher: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "conf" / "init").mkdir(parents=True)
    (tmp_path / "conf" / "init" / "deadly.yaml").write_text("# Kills its process.\n_target_: deadly.kill\nwhen: ???\n")
    (tmp_path / "deadly.py").write_text(
        "import os, signal\ndef kill(when):\n    os.kill(os.getpid(), signal.SIGKILL) if when else None\n"
    )
    process = start(
        tmp_path,
        *launcher,
        *("init=deadly", "init.when=0,1", "sweep.name=mine", "sweep.retries=1"),
        path=str(tmp_path),
    )
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 1, said
    folder = SweepFolder(sweeps_of(tmp_path / "mlruns") / "mine")
    found = {trial.name: trial.state().status for trial in folder.trials()}
    assert found == {"when=0": "finished", "when=1": "failed"}, said
    assert "its process died" in said


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = ("seed=0,1,2", "trainer.max_epochs=40", "sweep.name=mine")
    process = start(tmp_path, *command)
    folder = SweepFolder(sweeps_of(tmp_path / "mlruns") / "mine")
    deadline = time.monotonic() + 120
    while not any(trial.state().status == "finished" for trial in folder.trials()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert "Traceback" not in said, said
    assert process.returncode not in (0, 2), said
    done = {trial.number for trial in folder.trials() if trial.state().status == "finished"}
    assert done
    assert len(done) < 3
    again = start(tmp_path, *command)
    said = again.communicate(timeout=300)[0]
    assert again.returncode == 0, said
    assert Counter(trial.state().status for trial in folder.trials()) == {"finished": 3}
    assert trials_in_mlflow(tmp_path) == {f"seed={seed}": ["FINISHED"] for seed in range(3)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_sigkills_at_random_moments_leave_exactly_the_planned_trials(tmp_path: Path) -> None:
    command = ("seed=0,1,2,3", "optimizer.lr=0.1,0.01", "trainer.max_epochs=20", "sweep.name=mine")
    folder = SweepFolder(sweeps_of(tmp_path / "mlruns") / "mine")
    chance = random.Random(0)
    kills = 0
    for kill in range(6):
        begun = Counter(trial.state().attempts for trial in folder.trials())
        process = start(tmp_path, *command)
        deadline = time.monotonic() + 300
        # once while it plans, and then in a trial, at its end or in the next one
        while process.poll() is None and kill and Counter(each.state().attempts for each in folder.trials()) == begun:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        try:
            process.communicate(timeout=chance.uniform(0, 3))
            break  # it was faster than so many deaths
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    assert kills >= 3
    process = start(tmp_path, *command)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert Counter(trial.state().status for trial in folder.trials()) == {"finished": 8}
    planned = {f"seed={seed} lr={rate}": ["FINISHED"] for seed in range(4) for rate in ("0.1", "0.01")}
    assert trials_in_mlflow(tmp_path) == planned
