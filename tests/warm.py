"""Commands in forked processes: a test starts `python -m lantu ...` without waiting seconds for its imports.

Each test worker has two server processes, of `tests.warm_server`: one has imported torch, Lightning and Lantu, the
other what the uploader imports. For every command one of them forks a child with a working directory, an environment,
standard streams and a process group of its own; the child runs what `python` would run. A test gets a
`subprocess.Popen` of it: signals, statuses and timeouts are those of a real process.

A test asks for it with `WarmProcess` or `run_warm`, and calls a function of its own in such a process with `call_warm`,
where a fork of the test worker would lack the threads that autograd has started there, or hold their locks. What Lantu
starts itself as a part of a run, its uploader and its ranks, is started warm too once `warm_parts` was called. Workers
of a launcher and jobs start cold as always.
"""

import base64
import inspect
import json
import os
import pickle
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
UPLOADER = "lantu.tracking.upload"
TRAINING, UPLOADING = KINDS = ("training", "uploading")
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_ORDER = (
    "executable", "preexec_fn", "close_fds", "pass_fds", "cwd", "env", "startupinfo", "creationflags", "shell",
    *_PIPES, "restore_signals", "gid", "gids", "uid", "umask", "start_new_session", "process_group",
)  # fmt: skip
"""The arguments of `Popen._execute_child` after the command's own."""


class WarmProcess(subprocess.Popen[str]):
    """`subprocess.Popen([sys.executable, ...])` in a child that has imported Lantu already.

    Its arguments are `[sys.executable, "-m", module, *arguments]` or `[sys.executable, script, *arguments]`.
    """

    def _execute_child(self, args: Any, *rest: Any) -> None:
        assert args[0] == sys.executable, "only a command of Python's is started warm"
        _execute_warm(self, args, dict(zip(_ORDER, rest, strict=False)))

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        return _poll_warm(self)

    def _wait(self, timeout: float | None) -> int:
        return _wait_warm(self, timeout)


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


def call_warm(work: Callable[..., None], *arguments: Any, **environment: str) -> WarmProcess:
    """Call a function of a module in a process of its own; its status is 0, or 1 after an exception.

    The function is told by name and the arguments are pickled, as multiprocessing would. The environment is this
    process's with what is given added to it.
    """
    call = base64.b64encode(pickle.dumps((work, arguments))).decode()
    folders = (str(REPO), str(Path(inspect.getfile(work)).parent))  # pytest puts the folder of a test file on the path
    return WarmProcess(
        [sys.executable, "-m", "tests.warm_call", call],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders), **environment},
    )


def warm_parts() -> None:
    """Let every `subprocess.Popen` of this process, and of those forked from it, start uploaders and ranks warm."""
    names()  # the servers end with this process, not with a child that happens to ask first
    cold = subprocess.Popen._execute_child, subprocess.Popen._internal_poll, subprocess.Popen._wait  # type: ignore[attr-defined]

    def execute(self: Any, args: Any, *rest: Any) -> None:
        named = dict(zip(_ORDER, rest, strict=False))
        if _is_part(args, named):
            _execute_warm(self, args, named)
        else:
            cold[0](self, args, *rest)

    def poll(self: Any, *arguments: Any, **named: Any) -> int | None:
        return _poll_warm(self) if hasattr(self, "_warm") else cold[1](self, *arguments, **named)

    def wait(self: Any, timeout: float | None) -> int:
        return _wait_warm(self, timeout) if hasattr(self, "_warm") else int(cold[2](self, timeout))

    for name, method in {"_execute_child": execute, "_internal_poll": poll, "_wait": wait}.items():
        setattr(subprocess.Popen, name, method)


def _is_part(args: Any, named: dict[str, Any]) -> bool:
    if isinstance(args, str | bytes | os.PathLike) or args[0] != sys.executable:
        return False
    arguments, environment = [str(each) for each in args[1:]], named["env"] or {}
    return (
        arguments[:3] == ["-P", "-m", UPLOADER]
        or (arguments == ["-m", "lantu", "train"] and "LANTU_RANK_OF" in environment)
        or (arguments[:2] == ["-u", str(REPO / "scripts" / "train.py")] and "TORCHELASTIC_RUN_ID" in environment)
    )


def _execute_warm(process: Any, args: Any, named: dict[str, Any]) -> None:
    given = [named[each] for each in ("p2cread", "c2pwrite", "errwrite")]
    streams = [number if fd == -1 else fd for number, fd in enumerate(given)]
    process._warm, status = os.pipe()
    environment = os.environ if named["env"] is None else named["env"]
    asked = {
        "arguments": [os.fspath(each) for each in args[1:]],
        "cwd": os.fspath(named["cwd"] or os.getcwd()),
        "environment": {key: os.fspath(value) for key, value in environment.items()},
        "new_session": named["start_new_session"],
    }
    try:
        kind = UPLOADING if UPLOADER in asked["arguments"] else TRAINING
        process.pid = _server_of(os.getpid(), kind).start(asked, [*streams, status])
    finally:
        os.close(status)
        process._close_pipe_fds(*(named[each] for each in _PIPES))
    process._child_created = True


def _poll_warm(process: Any) -> int | None:
    if process.returncode is None and select.select([process._warm], [], [], 0)[0]:
        _read_status(process)
    return None if process.returncode is None else int(process.returncode)


def _wait_warm(process: Any, timeout: float | None) -> int:
    if process.returncode is None:
        if not select.select([process._warm], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(process.args, timeout or 0)
        _read_status(process)
    return int(process.returncode)


def _read_status(process: Any) -> None:
    said = os.read(process._warm, 16)
    os.close(process._warm)
    process.returncode = os.waitstatus_to_exitcode(int(said)) if said else -signal.SIGKILL


class _Server:
    """This side of a connection to a process that forks."""

    def __init__(self, kind: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(names()[kind])
        self._one_at_a_time = threading.Lock()

    def start(self, asked: dict[str, Any], fds: list[int]) -> int:
        text = json.dumps(asked).encode()
        with self._one_at_a_time:
            socket.send_fds(self._socket, [len(text).to_bytes(4, "big")], fds)
            self._socket.sendall(text)
            return int.from_bytes(receive(self._socket, 4), "big")


@cache
def _server_of(process: int, kind: str) -> _Server:
    return _Server(kind)


_names: dict[str, str] = {}
_lifelines: list[int] = []
"""The end of a pipe on which the servers wait: they end when the last process that holds it has."""


def names(given: dict[str, str] | None = None) -> dict[str, str]:
    """The names of the servers' sockets; the first process that asks starts the servers."""
    if given is not None:
        _names.update(given)
    if _names:
        return _names
    listening = {kind: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for kind in KINDS}
    for kind, each in listening.items():
        name = f"lantu-warm-{os.getpid()}-{secrets.token_hex(4)}-{kind}"
        # an abstract name leaves no file behind; only Linux has them
        each.bind(f"\0{name}" if sys.platform == "linux" else os.path.join(tempfile.gettempdir(), name))
        each.listen(128)
        _names[kind] = each.getsockname().decode()
    alive, lifeline = os.pipe()
    _lifelines.append(lifeline)
    passed = [alive, *(each.fileno() for each in listening.values())]
    subprocess.Popen(
        [sys.executable, "-m", "tests.warm_server", *map(str, passed)], pass_fds=passed,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
        stdin=subprocess.DEVNULL, cwd=REPO, start_new_session=True,
    )  # fmt: skip
    os.close(alive)
    for each in listening.values():
        each.close()
    return _names


def receive(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise EOFError("the other side of a warm process has ended")
        found += part
    return found


def close(fd: int) -> None:
    """Close a file descriptor that may be closed already."""
    with suppress(OSError):
        os.close(fd)
