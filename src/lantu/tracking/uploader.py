"""Start uploader processes without waiting for them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from lantu.notices import warn_once
from lantu.tracking.run_folder import RunFolder, lost_database, run_folders
from lantu.tracking.store import absolute, database_of, embedded_uri

_SOURCE = Path(__file__).resolve().parents[2]


class Uploader:
    """The process that uploads one run, or a run and those below its folder.

    It notices that this process has exited or died by the end of its standard input.
    """

    def __init__(self, folder: RunFolder, uri: str, *, family: bool = False) -> None:
        arguments = [*(["--family"] if family else []), str(folder.run_dir)]
        self._process = _start(arguments, uri, folder.log, stdin=subprocess.PIPE)

    def release(self) -> None:
        """Close its standard input: no more records follow."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def has_ended(self) -> bool:
        return self._process.poll() is not None


def sync_in_background(store: Path | str, tracking_uri: str | None = None) -> None:
    """Upload the unsynced runs of a store in a separate process, and end interrupted runs in MLflow.

    Args:
        tracking_uri: the destination; None: the store's own database.
    """
    store = Path(store).absolute()
    if any(folder.state() in ("waits", "dead") for folder in run_folders(store)):
        uri = absolute(tracking_uri) if tracking_uri else embedded_uri(store)
        _start(["--store", str(store)], uri, store / "runs" / "sync.log", stdin=subprocess.DEVNULL)


def _start(arguments: list[str], uri: str, log: Path, *, stdin: int) -> subprocess.Popen[bytes]:
    database = database_of(uri)
    if database is not None and embedded_uri(database.parent) == uri and (lost := lost_database(database.parent)):
        warn_once(lost)  # the uploader makes a new one
    environment = {
        **os.environ,
        "LANTU_UPLOAD_TO": uri,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH")])),
    }
    with _open(log) as output:
        return subprocess.Popen(
            # -P: a file mlflow.py in the working directory must not shadow the library
            [sys.executable, "-P", "-m", "lantu.tracking.upload", *arguments],
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,  # Ctrl-C interrupts the training only; the uploader exits when it is done
        )


def _open(log: Path) -> IO[str]:
    try:
        return log.open("a")
    except OSError:
        return open(os.devnull, "a")
