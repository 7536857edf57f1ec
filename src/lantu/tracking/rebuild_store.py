"""Rebuild a store's MLflow database from the journals of its runs."""

import os
import shutil
import time
from pathlib import Path

from lantu.tracking.run_folder import RunFolder
from lantu.tracking.store import artifact_location, database_of, embedded_uri


def set_aside(store: Path, folders: list[RunFolder]) -> tuple[Path | None, dict[Path, str]]:
    """Rename the database and reset the upload progress of the runs, so that they are uploaded in full.

    Args:
        folders: the store's runs.

    Returns:
        The database under its new name, None where there was none; and the MLflow run id that each folder had.
    """
    earlier = {folder.run_dir: run_id for folder in folders if (run_id := folder.upload_progress().run_id)}
    for folder in folders:
        (folder.path / "shipped.json").unlink(missing_ok=True)
    database = database_of(embedded_uri(store))
    if database is None or not database.exists():
        return None, earlier
    kept = database.with_name(f"{database.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    os.replace(database, kept)
    for end in ("-wal", "-shm", "-journal"):  # SQLite's own, of the old database
        database.with_name(f"{database.name}{end}").unlink(missing_ok=True)
    return kept, earlier


def bring_artifacts(store: Path, folder: RunFolder, earlier: str | None) -> None:
    """Move a run's artifacts to where its new MLflow run looks for them."""
    begin, now = folder.head(), folder.upload_progress().run_id
    if begin is None or not now or not earlier or now == earlier:
        return
    location = artifact_location(embedded_uri(store), begin["experiment"])
    assert location is not None
    old = Path(location) / earlier
    if old.is_dir() and Path(earlier).name == earlier:
        shutil.copytree(old, Path(location) / now, dirs_exist_ok=True)
        shutil.rmtree(old)
