"""A rank that the others time out waiting for is named, with where it is and the state of its process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lantu.training import rank_progress
from lantu.training.rank_progress import DOING, places, who_is_late
from tests.warm import WarmProcess

PATIENCE = 900
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="sees a stopped process by Linux's /proc")


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the place of a rank."""
    started = subprocess.Popen([sys.executable, "-Sc", "import time; time.sleep(600)"])
    yield started
    started.kill()
    started.wait()


def note(folder: Path, rank: int, *, events: int, doing: str, process: int, step: int = 7, since: float = 0) -> None:
    """What a rank leaves in its file."""
    place = folder / rank_progress.FOLDER / str(rank)
    place.parent.mkdir(exist_ok=True)
    noted = (process, events, step, since or time.time(), DOING.index(doing), socket.gethostname().encode())
    place.write_bytes(rank_progress._FORM.pack(*noted))


def test_the_rank_that_has_begun_less_is_the_one_that_is_late(tmp_path: Path) -> None:
    note(tmp_path, 0, events=30, doing="in the backward pass", process=os.getpid())
    note(tmp_path, 1, events=28, doing="waiting for a batch of data", process=os.getpid(), step=6)
    said = who_is_late(tmp_path, ranks=2, begun=0)
    assert "timed out waiting for rank 1 " in said
    assert "at step 6, waiting for a batch of data" in said
    assert "The furthest of the others is at step 7, in the backward pass" in said


def test_a_rank_that_never_came_is_named_also_where_an_earlier_start_has_left_its_file(tmp_path: Path) -> None:
    begun = time.time() - 60
    note(tmp_path, 0, events=1, doing="preparing", process=os.getpid())
    note(tmp_path, 1, events=900, doing="validating", process=os.getpid(), since=begun - 3600)
    assert "rank 1, 2 of 3 has not started" in who_is_late(tmp_path, ranks=3, begun=begun)


def test_ranks_at_the_same_place_are_all_listed(tmp_path: Path) -> None:
    for rank in range(12):
        note(tmp_path, rank, events=5, doing="validating", process=os.getpid())
    said = who_is_late(tmp_path, ranks=12, begun=0)
    assert "timed out waiting for each other: rank " in said
    assert ", and 4 more" in said


@LINUX
def test_of_ranks_at_the_same_place_the_one_whose_process_is_stopped_or_gone_is_late(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    note(tmp_path, 0, events=30, doing="in the backward pass", process=os.getpid())
    note(tmp_path, 1, events=30, doing="in the backward pass", process=process.pid)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert f"rank 1 (process {process.pid}), which is stopped" in who_is_late(tmp_path, ranks=2, begun=0)
    process.kill()
    process.wait()
    assert "which is gone" in who_is_late(tmp_path, ranks=2, begun=0)


@LINUX
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE)
def test_a_rank_that_hangs_ends_the_run_in_a_sentence_that_names_it(tmp_path: Path) -> None:
    run = WarmProcess(
        [
            *(sys.executable, "-m", "lantu", "train", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
            *("trainer.strategy.timeout.minutes=0.5", "data=digits", "model=mlp", "trainer.max_epochs=1000000"),
            *("trainer.enable_progress_bar=false", "logger=csv", f"paths.root={tmp_path}", f"paths.run={tmp_path}/run"),
        ],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE / 2
        while not (tmp_path / "run/checkpoints/last.ckpt").is_file():
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        second = next(each for each in places(tmp_path / "run") if each.rank == 1)
        os.kill(second.process, signal.SIGSTOP)
        _, said = run.communicate(timeout=PATIENCE / 2)
    finally:
        run.kill()  # its ranks end with it
    assert run.returncode == 1, said
    assert f"timed out waiting for rank 1 (process {second.process}), which is stopped" in said
    assert "at step" in said
    assert f"`resume={tmp_path}/run` continues from its newest checkpoint" in said
    assert "Traceback" not in said
    assert not Path(f"/proc/{second.process}").exists()
