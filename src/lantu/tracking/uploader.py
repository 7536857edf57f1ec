"""Starting shippers, from a process that does not want to wait for one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from lantu.tracking.run_folder import RunFolder, run_folders
from lantu.tracking.store import absolute, embedded_uri

_SOURCE = Path(__file__).resolve().parents[2]


class Uploader:
    """The process that ships one run, or a run and those below its folder. It learns that we have ended, or died, by
    the end of its standard input."""

    def __init__(self, folder: RunFolder, uri: str, *, family: bool = False) -> None:
        arguments = [*(["--family"] if family else []), str(folder.run_dir)]
        self._process = _start(arguments, uri, folder.log, stdin=subprocess.PIPE)

    def release(self) -> None:
        """Tell it that nothing more will come."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def has_ended(self) -> bool:
        return self._process.poll() is not None


def sync_in_background(store: Path | str, tracking_uri: str | None = None) -> None:
    """Ship, in a process of its own, whatever earlier runs left waiting in a store, and end runs that died.

    Args:
        tracking_uri: where to; None: the store's own database.
    """
    store = Path(store).absolute()
    if any(folder.state() in ("waits", "dead") for folder in run_folders(store)):
        uri = absolute(tracking_uri) if tracking_uri else embedded_uri(store)
        _start(["--store", str(store)], uri, store / "runs" / "sync.log", stdin=subprocess.DEVNULL)


def _start(arguments: list[str], uri: str, log: Path, *, stdin: int) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "LANTU_SHIP_TO": uri,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH")])),
    }
    with _open(log) as output:
        return subprocess.Popen(
            # -P: a folder that happens to hold a mlflow.py must not be taken for the library
            [sys.executable, "-P", "-m", "lantu.tracking.upload", *arguments],
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the training; the shipper ends when its work is done
        )


def _open(log: Path) -> IO[str]:
    try:
        return log.open("a")
    except OSError:
        return open(os.devnull, "a")
