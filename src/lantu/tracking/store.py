"""The embedded MLflow store: an SQLite file and a folder of artifacts, created by the first process that needs it."""

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from lantu.tracking.database_owner import refuse_tables_of_other

_SQLITE = "sqlite:///"


def embedded_uri(store: Path | str) -> str:
    """The tracking URI of the store in a folder."""
    return f"{_SQLITE}{Path(store).absolute() / 'mlflow.db'}"


def absolute(uri: str) -> str:
    """The URI with a relative SQLite file made absolute, so that it means the same from any folder."""
    database = database_of(uri)
    return f"{_SQLITE}{database}" if database else uri


def database_of(uri: str) -> Path | None:
    """The SQLite file behind a tracking URI; None for any other store."""
    if not uri.startswith(_SQLITE) or uri == f"{_SQLITE}:memory:":
        return None
    return Path(uri.removeprefix(_SQLITE)).absolute()


def artifacts_of(uri: str) -> Path | None:
    """Where an SQLite store keeps its artifacts: beside the file."""
    database = database_of(uri)
    return database.parent / "artifacts" if database else None


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its artifacts; None: where the server says."""
    artifacts = artifacts_of(uri)
    folder = quote(experiment, safe=" ")
    return str(artifacts / (folder if folder.strip(". ") else f"_{folder}")) if artifacts else None


def ensure_store(uri: str) -> None:
    """Create the database of a store that MLflow reaches without a server, unless it is there.

    Any number of processes may call this at once: an SQLite file is written beside its place and then moved there, so
    none reads an unfinished one. A database that another program has made is kept. The store of a server is left to the
    server.

    Raises:
        UserError: the database is Optuna's.
    """
    if "://" not in uri or uri.startswith(("http://", "https://", "file:", "databricks")):
        return
    database = database_of(uri)
    if database and database.exists():
        return
    with turn(uri):
        if database and database.exists():
            return
        _quieten()
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        if database is None:
            refuse_tables_of_other(uri, wanted_by="MLflow", option="paths.tracking_uri")
            SqlAlchemyStore(uri, "./mlruns").engine.dispose()
            return
        artifacts = artifacts_of(uri)
        draft = database.with_name(f".{database.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        try:
            SqlAlchemyStore(f"{_SQLITE}{draft}", str(artifacts)).engine.dispose()
            _put(draft, database)
        finally:
            draft.unlink(missing_ok=True)  # left where the disk is full


def _put(draft: Path, database: Path) -> None:
    """Move a new database to its place, unless `mlflow ui` or another program has made one there meanwhile."""
    try:
        os.link(draft, database)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not database.exists():
            os.replace(draft, database)


@contextmanager
def turn(uri: str) -> Iterator[None]:
    """Hold a file lock while writing to a store without a server; no lock for a server.

    Writers of SQLite poll and fail after a time limit, so some would starve; a file lock serves all of them.
    """
    database = database_of(uri)
    if uri.startswith(("http://", "https://")):
        yield
        return
    if database is None:
        name = hashlib.sha256(uri.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"lantu-{os.getuid()}-{name}.lock"
    else:
        database.parent.mkdir(parents=True, exist_ok=True)
        path = database.with_name(f"{database.name}.lock")
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _quieten() -> None:
    for name in ("alembic", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs the traceback of what it raises
