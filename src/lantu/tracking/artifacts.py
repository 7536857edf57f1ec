"""The files that a run has in MLflow's artifact store."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lantu.errors import UserError
from lantu.tracking.mlflow_client import same_host

SLACK = 1 << 20
"""Bytes that a file may have more than its server said."""


def artifacts_of(client: Any, run_id: str, folder: str | None = None) -> list[Any]:
    """MLflow's list of the files in one folder of a run's artifacts; empty where the store names no place for them.

    A store that was imported or written by another program can have runs without an artifact address, for which
    MLflow's own call raises a TypeError.

    Args:
        client: MLflow's.
        folder: inside the run's artifacts; None: the uppermost.

    Raises:
        MlflowException: there is no such run.
        UserError: the server names a place that it has no business with.
    """
    run = client.get_run(run_id)
    if not run.info.artifact_uri:
        return []
    check_artifact_place(run, client.tracking_uri)
    return list(client.list_artifacts(run_id, folder))


def download(client: Any, run_id: str, file: Any, place: Path | str) -> Path:
    """Bring a file of `artifacts_of` into a folder of this machine.

    A server that sends more than it said that the file holds is cut off, with an error of MLflow's.

    Raises:
        UserError: the file does not fit on this disk, or the server sends less than it said.
    """
    from lantu.tracking.bounded_http import download_of

    said = file.file_size or 0
    if said > (free := shutil.disk_usage(place).free):
        raise UserError(
            f"the server says that {file.path} of run {run_id} has {said:,} bytes, and {free:,} are free here."
        )
    with download_of(said + SLACK):
        path = Path(client.download_artifacts(run_id, file.path, str(place)))
    if path.is_file() and (sent := path.stat().st_size) < said:
        path.unlink()
        raise UserError(
            f"the server sent {sent:,} of the {said:,} bytes that it says {file.path} of run {run_id} has. "
            "Type the same command again."
        )
    return path


def check_artifact_place(run: Any, tracking_uri: str | None) -> None:
    """Refuse a server's run whose files are said to lie where MLflow would not keep them.

    These are other folders of this machine, and other servers, which would get the credentials of this one.

    Raises:
        UserError: naming the place.
    """
    if urlsplit(tracking_uri or "").scheme not in ("http", "https"):
        return
    said = f"the MLflow server says that the files of run {run.info.run_id} lie in"
    place = urlsplit(str(run.info.artifact_uri))
    if not same_host(str(run.info.artifact_uri), str(tracking_uri)):
        raise UserError(f"{said} {place.scheme}://{place.hostname}, which is another server. Nothing was read.")
    if place.scheme not in ("", "file"):
        return
    if Path(place.path).parts[-2:] != (run.info.run_id, "artifacts") or ".." in Path(place.path).parts:
        raise UserError(
            f"{said} {place.path} on this machine, which is no place where MLflow keeps them. Nothing was read."
        )
