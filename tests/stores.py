"""MLflow stores for tests: making an empty one takes MLflow over a second of migrations, a copy takes none."""

import atexit
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

import lantu
from lantu.tracking.run_folder import RunFolder, run_folders
from lantu.tracking.store import embedded_uri, ensure_store
from lantu.tracking.upload import upload_once


def new_store(folder: Path) -> str:
    """Put an empty database of MLflow's own making into a folder, unless there is one; returns its URI."""
    database = folder / "mlflow.db"
    if not database.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_empty(), database)
    return embedded_uri(folder)


def uploaded(result: lantu.Result, store: Path) -> str:
    """Upload a run that was not uploaded, from this process: the uploader's own takes seconds to start.

    Returns:
        the run's id in MLflow
    """
    folder = RunFolder(result.run_dir)
    trouble = upload_once(folder, new_store(store))
    assert trouble is None
    run_id = folder.upload_progress().run_id
    assert run_id is not None
    return run_id


def uploaded_runs(store: Path) -> None:
    """Wait until MLflow has all runs of a store, also where the machine is too busy for the command to wait.

    A client must not be made before: where there is no database yet, it makes one of its own.
    """
    deadline = time.monotonic() + 200
    while missing := [folder for folder in run_folders(store) if not folder.is_uploaded()]:
        assert time.monotonic() < deadline, missing[0].log.read_text()
        time.sleep(0.1)


@cache
def _empty() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="lantu-store-"))
    atexit.register(_removed, folder, by=os.getpid())
    ensure_store(embedded_uri(folder))
    return folder / "mlflow.db"


def _removed(folder: Path, *, by: int) -> None:
    """Remove it at the end of the process that made it: a forked child runs what its parent has registered too."""
    if os.getpid() == by:
        shutil.rmtree(folder, ignore_errors=True)
