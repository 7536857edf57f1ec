"""Real stores, servers and processes for the tests of the durable record."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lantu.tracking.upload import prepare

prepare()
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes that import MLflow
os.environ.setdefault("LANTU_UPLOAD_LINGER", "3")

from lantu.tracking import RunLogger, embedded_uri, ensure_store  # noqa: E402
from tests.stores import new_store  # noqa: E402

_FORK = multiprocessing.get_context("fork")


class Server:
    """A real `mlflow server` on loopback that can be stopped and started again."""

    def __init__(self, folder: Path, backend: str | None = None) -> None:
        self.folder = folder
        self.backend = backend or embedded_uri(folder)
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, workers: int = 1) -> "Server":
        self.folder.mkdir(parents=True, exist_ok=True)
        ensure_store(self.backend)
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.backend),
            *("--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", str(workers)),
        ]
        with open(self.folder / "server.log", "a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(self._answers, 60)
        return self

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that stays up."""
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    running.stop()


@pytest.fixture
def server_to_stop(tmp_path: Path) -> Iterator[Server]:
    """A server, not started, that the test may stop."""
    own = Server(tmp_path / "server")
    yield own
    own.stop()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An embedded store that has its database already."""
    new_store(tmp_path / "mlruns")
    return tmp_path / "mlruns"


@pytest.fixture
def open_run(store: Path) -> Callable[..., RunLogger]:
    """Open a run in the store; without an uploader unless asked for."""

    def open_one(name: str = "a", **options: Any) -> RunLogger:
        options = {"experiment": "test", "run_name": f"run {name}", "ship": False, **options}
        return RunLogger(run_dir=store / "runs" / name, **options)

    return open_one


class Process:
    """A function run in a process, and process group, of its own; what it prints goes to a file."""

    def __init__(self, work: Callable[..., None], *arguments: Any, output: Path) -> None:
        self.output = output
        self._process = _FORK.Process(target=_alone, args=(work, arguments, output))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL to everything in the process group."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 120) -> int:
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still running: {self.text()}"
        return self._process.exitcode

    def text(self) -> str:
        return self.output.read_text() if self.output.exists() else ""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start processes; those still running at the end of the test are killed."""
    begun: list[Process] = []

    def start_one(work: Callable[..., None], *arguments: Any) -> Process:
        begun.append(Process(work, *arguments, output=tmp_path / f"output-{len(begun)}.txt"))
        return begun[-1]

    yield start_one
    for process in begun:
        if process._process.is_alive():
            process.kill_group()


def _alone(work: Callable[..., None], arguments: tuple[Any, ...], output: Path) -> None:
    os.setsid()
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import atexit

    try:
        work(*arguments)
    except KeyboardInterrupt as error:
        sys.last_value = error
        status = 130
    except Exception as error:  # as the interpreter does it at the end of a script
        import traceback

        traceback.print_exc()
        sys.last_value = error
        status = 1
    else:
        status = 0
    atexit._run_exitfuncs()  # multiprocessing's children leave without them
    sys.stdout.flush()
    os._exit(status)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return found
