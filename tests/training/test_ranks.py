"""Runs of several processes: what is started for them, what becomes of them, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port

import lantu
from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.training.distributed import local_ranks, torchrun
from lantu.training.distributed.local_ranks import to_start
from lantu.training.rank_progress import places
from tests.warm import WarmProcess

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
SHORT = ("data=breast_cancer", "model=linear", "trainer.enable_progress_bar=false", "callbacks.figures=null")
PATIENCE = 900
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Python module in a folder of the test's own; nothing of it outlives the test."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LANTU_HOME": str(tmp_path)}
    started = []

    def begin(*command: str) -> "subprocess.Popen[str]":
        started.append(
            WarmProcess(
                [sys.executable, "-m", *command], cwd=tmp_path, env=environment, text=True, start_new_session=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return started[-1]

    yield begin
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def programs(*texts: str) -> list["subprocess.Popen[bytes]"]:
    """Small processes in the place of ranks."""
    return [subprocess.Popen([sys.executable, "-Sc", text], stdin=subprocess.PIPE) for text in texts]


def rank_process(folder: Path, rank: int) -> int:
    """The number of the process that is a rank of the only run below a folder."""
    (noted,) = folder.rglob("ranks")
    return next(each.process for each in places(noted.parent) if each.rank == rank)


def folders_with_checkpoints(folder: Path) -> list[str]:
    return sorted({each.parent.name for each in (folder / "mlruns" / "runs").rglob("checkpoints")})


def printed(folder: Path) -> str:
    """The end of what the trials of a sweep printed, for whoever must find out what went wrong."""
    return "".join(f"\n{each}\n{each.read_text()[-4000:]}" for each in sorted(folder.rglob("output.txt")))


def test_one_device_needs_no_processes_and_two_need_two() -> None:
    assert to_start(lantu.compose("trainer=cpu").cfg) == 0
    assert to_start(lantu.compose(*TWO).cfg) == 2


def test_machines_that_nobody_started_are_refused() -> None:
    with pytest.raises(UserError, match=r"this run was not started on the other machines.*torchrun --nnodes=2"):
        to_start(lantu.compose(*TWO, "trainer.num_nodes=2").cfg)


def test_a_trainer_that_does_not_fit_torchrun_is_told_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"started 4 .* asks for 1 .*`trainer=ddp trainer.devices=2 trainer.num_nodes"):
        torchrun.check(devices=1, nodes=1)
    torchrun.check(devices=2, nodes=2)


def test_the_rank_that_was_ended_from_outside_is_named_and_not_the_one_it_took_along(tmp_path: Path) -> None:
    taken_along = "import sys, time; time.sleep(0.5); sys.exit(1)"
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    rank, process = local_ranks._watched(programs(taken_along, killed), tmp_path) or (None, None)
    assert rank == 1
    assert process is not None
    said = str(local_ranks._trouble(tmp_path, rank, process, count=2, run_dir=tmp_path))
    assert "rank 1 of 2" in said
    assert "the signal SIGKILL" in said
    assert "No checkpoint was kept before" in said


def test_a_rank_that_waits_for_a_dead_one_is_ended_after_a_grace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local_ranks, "GRACE_SECONDS", 0.2)
    processes = programs("import time; time.sleep(600)", "raise SystemExit(3)")
    rank, process = local_ranks._watched(processes, tmp_path) or (None, None)
    assert (rank, process) == (1, processes[1])
    assert processes[0].returncode == -signal.SIGKILL


def test_ranks_that_all_end_well_are_no_trouble(tmp_path: Path) -> None:
    assert local_ranks._watched(programs("", ""), tmp_path) is None


def test_a_rank_that_aborts_after_its_last_word_is_no_trouble_and_before_it_is(tmp_path: Path) -> None:
    (tmp_path / "0.json").write_text("{}")
    (tmp_path / "1.json").write_text('{"metrics": {"val/loss": 0.5}}')
    assert local_ranks._watched(programs("", "import os; os.abort()"), tmp_path) is None
    (tmp_path / "1.json").unlink()
    rank, _ = local_ranks._watched(programs("", "import os; os.abort()"), tmp_path) or (None, None)
    assert rank == 1


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_the_second_trial_of_a_sweep_trains_as_the_first_in_a_folder_of_its_own(start: Start, tmp_path: Path) -> None:
    asked = ("lantu", "train", "-m", *TWO, *SHORT, "trainer.max_epochs=2", "+tags.copy=a,b", "sweep.name=same")
    process = start(*asked)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said + printed(tmp_path)
    first, second = (each.state() for each in SweepFolder(tmp_path / "mlruns/runs/sweeps/same").trials())
    assert (first.status, second.status) == ("finished", "finished")
    assert first.values["val/loss"] == second.values["val/loss"]
    assert folders_with_checkpoints(tmp_path) == ["0000", "0001"]


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_a_rank_that_is_killed_ends_its_trial_in_a_sentence_and_the_sweep_goes_on(start: Start, tmp_path: Path) -> None:
    process = start("lantu", "train", "-m", *TWO, *SHORT, "trainer.max_epochs=100000,1", "sweep.name=killed")
    sweep = SweepFolder(tmp_path / "mlruns/runs/sweeps/killed")
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.rglob("last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    os.kill(rank_process(tmp_path, 1), signal.SIGKILL)
    killed = time.time()
    said, _ = process.communicate(timeout=PATIENCE)
    first, second = (each.state() for each in sweep.trials())
    assert first.status == "failed", said + printed(tmp_path)
    assert "rank 1 of 2" in first.reason
    assert "ended by the signal SIGKILL" in first.reason
    assert "`resume=" in first.reason
    assert first.ended - killed < 60, "it hung"
    assert second.status == "finished", said + printed(tmp_path)
    assert folders_with_checkpoints(tmp_path) == ["0000", "0001"]


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_torchrun_trains_one_model_in_one_folder(start: Start, tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
    asked = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), *TWO, *SHORT)
    process = start(*asked, "trainer.max_epochs=1")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.count("kept in") == 1
    assert len(folders_with_checkpoints(tmp_path)) == 1


def on_two_machines(start: Start, *asked: str) -> tuple[list[int], str]:
    """Two agents of torchrun with a process each; how they ended, and what all have said."""
    script = str(Path(__file__).resolve().parents[2] / "scripts" / "train.py")
    meet = ("--rdzv-id", "two", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{find_free_network_port()}")
    agent = ("torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meet, script)
    machines = [
        start(*agent, *asked, "trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2") for _ in range(2)
    ]
    said = "".join(each.communicate(timeout=PATIENCE)[0] for each in machines)
    return [each.returncode for each in machines], said


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_a_mistake_is_said_once_and_ends_the_ranks_of_all_machines(start: Start, tmp_path: Path) -> None:
    statuses, said = on_two_machines(start, *SHORT, "trainer=ddp", "resume=nowhere")
    assert all(statuses)
    assert said.count("lantu train: ") == 1, said
    assert "`resume=nowhere`: there is no such file or folder" in said
    assert "exitcode  : 2" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_two_machines_under_torchrun_train_one_model_to_the_losses_of_one_process(
    start: Start, train: Callable[..., lantu.Result], tmp_path: Path
) -> None:
    asked = ("data=breast_cancer", "model=mlp", "trainer.enable_progress_bar=false", "trainer.max_epochs=1")
    statuses, said = on_two_machines(start, *asked, "trainer=fsdp", "save_model=false")
    assert statuses == [0, 0], said
    assert said.count("kept in") == 1
    (checkpoints,) = {each.parent for each in tmp_path.rglob("runs/*/*/checkpoints/*.ckpt")}
    lines = [json.loads(each) for each in (checkpoints.parent / "journal/records.jsonl").read_text().splitlines()]
    assert sum(each["kind"] == "begin" for each in lines) == 1
    (loss,) = [each["values"]["val/loss"] for each in lines if "val/loss" in each.get("values", {})]
    alone = train(*asked, "trainer=cpu", "logger=none", "save_model=false", "test=false")
    assert loss == pytest.approx(alone.metrics["val/loss"], rel=1e-5)
    for name, weight in rebuild(checkpoints / "best.ckpt").task.net.state_dict().items():
        torch.testing.assert_close(weight, alone.module.net.state_dict()[name], msg=name)
