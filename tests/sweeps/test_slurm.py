"""Sweeps as jobs of a real SLURM: run, requeued, cancelled, refused."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder, sweeps_of
from tests.sweeps.slurm import slurm  # noqa: F401 - a fixture
from tests.sweeps.test_launchers import start, trials_in_mlflow

ON_SLURM = ("hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "sweep.name=mine")
pytestmark = [pytest.mark.usefixtures("slurm"), pytest.mark.xdist_group("slurm")]


def queue() -> list[str]:
    said = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], check=True, capture_output=True, text=True, timeout=60)
    return said.stdout.split()


def until(what: Callable[[], object], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def first_trial(folder: Path) -> TrialFolder:
    return SweepFolder(sweeps_of(folder / "mlruns") / "mine").trial(0)


def job_of(trial: TrialFolder) -> str:
    return str(json.loads((trial.path / "job.json").read_text())["job"])


def has_checkpoint(folder: Path) -> bool:
    return any((first_trial(folder).path / "checkpoints").glob("*.ckpt"))


def test_what_slurm_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, *ON_SLURM, "hydra.launcher.partition=nowhere", "seed=0,1")
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert "SLURM did not take the jobs: Batch job submission failed: Invalid partition" in said.replace("\n", " ")
    assert "Traceback" not in said
    assert not queue()


@pytest.mark.slow
def test_trials_run_as_jobs_with_a_process_for_each_rank(tmp_path: Path) -> None:
    ranks = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.launcher.tasks_per_node=2")
    process = start(tmp_path, *ON_SLURM, *ranks, "seed=0,1")
    said = process.communicate(timeout=280)[0]
    assert process.returncode == 0, said
    assert "sacct" not in said
    assert trials_in_mlflow(tmp_path) == {"seed=0": ["FINISHED"], "seed=1": ["FINISHED"]}
    runs = {each.parent for each in (tmp_path / "mlruns" / "runs").rglob("config.yaml")}
    assert len(runs) == 2  # none for helper ranks


@pytest.mark.slow
def test_a_trial_over_two_nodes_is_one_job_one_run_and_one_folder(tmp_path: Path) -> None:
    on_two_nodes = (
        "hydra/launcher=slurm_nodes",
        *ON_SLURM[1:],
        "hydra.launcher.gpus_per_node=null",
        "hydra.launcher.tasks_per_node=1",
    )
    ranks = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2")
    process = start(tmp_path, *on_two_nodes, *ranks, "seed=0")
    said = process.communicate(timeout=280)[0]
    assert process.returncode == 0, said
    assert trials_in_mlflow(tmp_path) == {"the only trial": ["FINISHED"]}
    assert len({each.parent for each in (tmp_path / "mlruns" / "runs").rglob("config.yaml")}) == 1
    noted = sorted(each.name for each in (first_trial(tmp_path).path / "ranks").iterdir())
    assert noted == ["0", "1"]
    assert json.loads((first_trial(tmp_path).path / "job.json").read_text())["tasks"] == 2


@pytest.mark.slow
def test_a_job_that_is_told_to_leave_is_queued_again_and_goes_on_as_the_same_run(tmp_path: Path) -> None:
    process = start(tmp_path, *ON_SLURM, "trainer.max_epochs=100", "seed=0,1")
    until(lambda: has_checkpoint(tmp_path))
    subprocess.run(["scancel", "--signal=USR2", job_of(first_trial(tmp_path))], check=True, timeout=30)
    said = process.communicate(timeout=280)[0]
    assert process.returncode == 0, said
    assert trials_in_mlflow(tmp_path) == {"seed=0": ["FINISHED"], "seed=1": ["FINISHED"]}
    log = "".join(each.read_text() for each in first_trial(tmp_path).path.parents[1].glob("jobs/*_0/*log.err"))
    assert "DUE TO JOB REQUEUE" in log or "Requeued job" in log
    printed = (first_trial(tmp_path).path / "output.txt").read_text()
    # the signal may come during a validation, whose state is never written to a checkpoint
    assert re.search("SIGUSR2: .* (a checkpoint is kept at step|it goes on from the newest checkpoint)", printed)
    assert re.search("resumes at step [1-9]", printed)


@pytest.mark.slow
def test_a_job_that_is_cancelled_is_tried_again(tmp_path: Path) -> None:
    process = start(tmp_path, *ON_SLURM, "trainer.max_epochs=100", "seed=0", "sweep.retries=1")
    until(lambda: has_checkpoint(tmp_path))
    job = job_of(first_trial(tmp_path))
    subprocess.run(["scancel", job], check=True, timeout=30)
    said = process.communicate(timeout=280)[0]
    assert process.returncode == 0, said
    assert job_of(first_trial(tmp_path)) != job
    assert trials_in_mlflow(tmp_path) == {"the only trial": ["FINISHED"]}
