"""A command in a forked process behaves as one in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lantu.tracking.store import embedded_uri
from tests.warm import WarmProcess, run_warm

PROGRAM = """
import atexit, os, sys, time
atexit.register(lambda: print("at exit", flush=True))
print(os.getcwd(), sys.argv[1:], os.environ.get("SAID"), os.environ.get("HOME"))
print(os.getpgrp() == os.getpid(), sys.path[0])
print(__name__, "problem", file=sys.stderr)
if "wait" in sys.argv:
    time.sleep(60)
if "raise" in sys.argv:
    raise ValueError("broken")
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def test_a_warm_process_has_the_folder_arguments_environment_streams_and_status_of_a_cold_one(program: Path) -> None:
    command = [sys.executable, str(program), "a", "b c"]
    options = {"cwd": program.parent, "env": {"SAID": "this"}}
    warm = run_warm(command, start_new_session=True, **options)
    cold = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True, **options)
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)
    assert warm.returncode == 3
    assert "at exit" in warm.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_warm_process_as_a_cold_one(program: Path, number: int) -> None:
    codes = []
    for kind in (WarmProcess, subprocess.Popen):
        process = kind(
            [sys.executable, str(program), "wait"],
            cwd=program.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline() == "__main__ problem\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
        assert process.poll() is None
        os.killpg(process.pid, number)
        process.communicate(timeout=30)
        codes.append(process.returncode)
    assert codes == [-number, -number]


def test_an_exception_ends_a_warm_process_with_a_traceback_and_status_one(program: Path) -> None:
    done = run_warm([sys.executable, str(program), "raise"], cwd=program.parent)
    assert done.returncode == 1
    assert "ValueError: broken" in done.stderr


def test_a_module_is_found_in_the_working_directory_and_one_process_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import os, torch\nos.environ['LEFT'] = '1'\ntorch.left = 1\nprint('run')\n")
    assert run_warm([sys.executable, "-m", "mine"], cwd=tmp_path).stdout == "run\n"
    (tmp_path / "mine.py").write_text("import os, torch\nprint('LEFT' in os.environ, hasattr(torch, 'left'))\n")
    assert run_warm([sys.executable, "-m", "mine"], cwd=tmp_path).stdout == "False False\n"


def test_an_uploader_is_started_warm_and_ends_as_one_with_nothing_to_upload(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lantu.tracking.upload", "--store", tmp_path],
            env={**os.environ, "LANTU_UPLOAD_TO": embedded_uri(tmp_path)}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        assert hasattr(process, "_warm")
        assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert not (tmp_path / "log").read_text()
