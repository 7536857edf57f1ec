"""The processes from which `tests.warm` forks commands: python -m tests.warm_server ALIVE TRAINING UPLOADING.

The arguments are file descriptors: a pipe that ends with the test worker, and a listening socket for each server. A
server imports at the first connection what its commands need, and forks a child for each request.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.warm import KINDS, REPO, TRAINING, UPLOADER, UPLOADING, close, names, receive, warm_parts

IMPORTS = {
    TRAINING: (
        "lantu.training.train_command", "lantu.inference.evaluate", "lantu.data", "lantu.models", "sklearn.datasets",
    ),
    UPLOADING: ("lantu.tracking.destination", "lantu.tracking.run_upload", "mlflow.store.tracking.sqlalchemy_store"),
}  # fmt: skip


def main(alive: int, listening: list[socket.socket]) -> None:
    """Be both servers, until the pipe ends."""
    names({kind: each.getsockname().decode() for kind, each in zip(KINDS, listening, strict=True)})
    kind = UPLOADING if os.fork() == 0 else TRAINING
    own = listening[KINDS.index(kind)]
    for each in listening:
        if each is not own:
            each.close()
    if alive not in select.select([alive, own], [], [])[0]:
        _import(kind)
        _serve(alive, own)


def _import(kind: str) -> None:
    if kind == UPLOADING:
        uploader = import_module(UPLOADER)
        uploader.hide_table_libraries()
        uploader.prepare()
        del sys.modules[UPLOADER]  # each child runs it as its main module
    for name in IMPORTS[kind]:
        import_module(name)
    warm_parts()


def _serve(alive: int, listening: socket.socket) -> None:
    """Fork until the test worker is gone; tell the status of each child that has ended."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    clients: list[socket.socket] = []
    while True:
        ready = select.select([alive, awake, listening, *clients], [], [])[0]
        if alive in ready:
            return
        if awake in ready:
            os.read(awake, 4096)
        _tell(running)
        if listening in ready:
            clients.append(listening.accept()[0])
        for client in [each for each in clients if each in ready]:
            try:
                asked, fds = _request(client)
            except (EOFError, OSError):
                clients.remove(client)
                client.close()
                continue
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for fd in (alive, awake, wake, fds[3], *running.values()):
                    close(fd)
                for each in (listening, *clients):
                    each.close()
                _become(asked, fds[:3])
            for fd in fds[:3]:
                os.close(fd)
            running[child] = fds[3]
            with suppress(BrokenPipeError, ConnectionResetError):  # it was killed while it waited for the answer
                client.sendall(child.to_bytes(4, "big"))


def _request(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, fds, _, _ = socket.recv_fds(client, 4, 8)
    if not head:
        raise EOFError
    return json.loads(receive(client, int.from_bytes(head, "big"))), fds


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
    command = asked["arguments"]
    flags = {each for each in command[:2] if each in ("-P", "-u")}
    command = command[len(flags) :]
    unbuffered = "-u" in flags or "PYTHONUNBUFFERED" in asked["environment"]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, buffering=1 if unbuffered else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _know_the_rank()
    as_module = command[0] == "-m"
    name, arguments = (command[1], command[2:]) if as_module else (command[0], command[1:])
    first = [] if "-P" in flags else [asked["cwd"] if as_module else str(Path(name).resolve().parent)]
    named = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [*first, *named, *(each for each in sys.path[1:] if each and each != str(REPO))]
    sys.argv[:] = [name, *arguments]
    status = _run(name, as_module=as_module)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    if status == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def _know_the_rank() -> None:
    """Set what Lightning reads from the environment when it is imported."""
    if "pytorch_lightning" in sys.modules:
        from lightning_fabric.utilities.rank_zero import _get_rank, rank_zero_only

        rank_zero_only.rank = _get_rank() or 0


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


if __name__ == "__main__":
    main(int(sys.argv[1]), [socket.socket(fileno=int(each)) for each in sys.argv[2:]])
