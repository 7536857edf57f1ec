"""Commands in forked processes: a test starts `python -m lantu ...` without waiting seconds for its imports.

Each test worker has one server process, which has imported torch, Lightning and Lantu and does nothing else. For every
command it forks a child with a working directory, an environment, standard streams and a process group of its own; the
child runs what `python` would run. A test gets a `subprocess.Popen` of it: signals, statuses and timeouts are those of
a real process. What a command starts by itself, such as ranks, workers and the uploader, starts cold as always.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

REPO = Path(__file__).resolve().parent.parent
IMPORTS = ("lantu.training.train_command", "lantu.inference.evaluate", "lantu.data", "lantu.models", "sklearn.datasets")


class WarmProcess(subprocess.Popen[str]):
    """`subprocess.Popen([sys.executable, ...])` in a child that has imported Lantu already.

    Its arguments are `[sys.executable, "-m", module, *arguments]` or `[sys.executable, script, *arguments]`.
    """

    def _execute_child(self, args: Any, *rest: Any) -> None:
        named = dict(zip(_ORDER, rest, strict=False))
        assert args[0] == sys.executable, "only a command of Python's is started warm"
        streams = [
            os.dup(fd if fd != -1 else default)
            for fd, default in zip((named["p2cread"], named["c2pwrite"], named["errwrite"]), (0, 1, 2), strict=True)
        ]
        self._status, status = os.pipe()
        environment = os.environ if named["env"] is None else named["env"]
        asked = {
            "arguments": [os.fspath(each) for each in args[1:]],
            "cwd": os.fspath(named["cwd"] or os.getcwd()),
            "environment": {key: os.fspath(value) for key, value in environment.items()},
            "new_session": named["start_new_session"],
        }
        self.pid = _server().start(asked, [*streams, status])
        for fd in (*streams, status, *(named[each] for each in ("p2cread", "c2pwrite", "errwrite"))):
            if fd != -1 and fd > 2:
                _close(fd)
        self._child_created = True

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._read_status()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._read_status()
        return int(self.returncode)

    def _read_status(self) -> None:
        said = os.read(self._status, 16)
        os.close(self._status)
        self.returncode = os.waitstatus_to_exitcode(int(said)) if said else -signal.SIGKILL


_ORDER = (
    "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "startupinfo", "creationflags", "shell",
    "p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite", "restore_signals", "gid", "gids", "uid",
    "umask", "start_new_session", "process_group",
)  # fmt: skip
"""The arguments of `Popen._execute_child` after the command's own."""


def run_warm(
    command: list[Any], *, input: str | None = None, timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run(command, capture_output=True, text=True)` of a `WarmProcess`."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with WarmProcess(command, **options) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class _Server:
    """This side of the process that forks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._owner = os.getpid()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
        subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment,
            stdin=subprocess.DEVNULL, cwd=REPO, start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def start(self, asked: dict[str, Any], fds: list[int]) -> int:
        text = json.dumps(asked).encode()
        socket.send_fds(self._socket, [len(text).to_bytes(4, "big")], fds)
        self._socket.sendall(text)
        return int.from_bytes(_receive(self._socket, 4), "big")


@cache
def _server_of(process: int) -> _Server:
    return _Server()


def _server() -> _Server:
    return _server_of(os.getpid())


def _receive(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise RuntimeError("the server of warm processes has ended")
        found += part
    return found


def _serve(connection: socket.socket) -> None:
    """Fork until the other side is gone; tell the status of each child that has ended."""
    from importlib import import_module

    for name in IMPORTS:
        import_module(name)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready = select.select([connection, awake], [], [])[0]
        if awake in ready:
            os.read(awake, 4096)
        _tell(running)
        if connection not in ready:
            continue
        head, fds, _, _ = socket.recv_fds(connection, 4, 8)
        if not head:
            return
        asked = json.loads(_receive(connection, int.from_bytes(head, "big")))
        child = os.fork()
        if not child:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (awake, wake, fds[3], connection.fileno(), *running.values()):
                _close(fd)
            connection.detach()
            _become(asked, fds[:3])
        for fd in fds[:3]:
            os.close(fd)
        running[child] = fds[3]
        connection.sendall(child.to_bytes(4, "big"))


def _tell(running: dict[int, int]) -> None:
    for child in list(running):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            fd = running.pop(child)
            with suppress(BrokenPipeError):  # the test has ended
                os.write(fd, str(status).encode())
            os.close(fd)


def _become(asked: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the process that was asked for, from its first line to its last."""
    if asked["new_session"]:
        os.setsid()
    else:
        os.setpgid(0, 0)
    for fd, number in zip(streams, (0, 1, 2), strict=True):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, buffering=1 if "PYTHONUNBUFFERED" in asked["environment"] else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = asked["arguments"]
    as_module = command[0] == "-m"
    arguments = command[2:] if as_module else command[1:]
    named = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    first = asked["cwd"] if as_module else str(Path(command[0]).resolve().parent)
    sys.path[:] = [first, *named, *(each for each in sys.path[1:] if each and each != str(REPO))]
    sys.argv[:] = [command[1] if as_module else command[0], *arguments]
    status = _run(command[1] if as_module else command[0], as_module=as_module)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def _run(name: str, *, as_module: bool) -> int:
    try:
        if as_module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        sys.last_value = error
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException as error:  # as the interpreter ends a script
        sys.last_value = error
        traceback.print_exc()
        return 1
    return 0


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
