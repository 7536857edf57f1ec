"""Find the checkpoint of `run=...` or `resume=...`; imports nothing heavy for a file or folder."""

import re
from pathlib import Path
from typing import Any

from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.tracking.artifacts import check_artifact_place
from lantu.tracking.mlflow_runs import (
    CHECKPOINTS,
    best_run,
    download_checkpoint,
    local_folder,
    open_client,
    readable_errors,
    run_by_id,
)
from lantu.tracking.registered import REGISTERED, RegisteredVersion, resolve
from lantu.tracking.run_folder import RunFolder

AUTO = "auto"
EXPORTED = "preparation.ckpt"
"""The checkpoint's counterpart in a folder that `lantu export` wrote."""


def find_checkpoint(run: str, *, store: Path, tracking_uri: str | None = None) -> Path:
    """The checkpoint file of a run, downloaded if it is not on this machine.

    Args:
        run: "last", "best:EXPERIMENT", an MLflow run id or its beginning, a run folder, or a checkpoint file.
        store: the folder with local runs, usually ./mlruns.
        tracking_uri: where MLflow's runs are; None: the store's own database.

    Raises:
        UserError: nothing of that name, or the run kept no checkpoint.
    """
    found = _on_disk(run, store) or _from_mlflow(run, store, tracking_uri, fetch=True)
    best, last = CHECKPOINTS
    if found.name == last and not Path(run).expanduser().is_file():
        warn_once(f"{found.parent} holds no {best}: the weights of {last} are used")
    return found


def look_for_checkpoint(run: str, *, store: Path, tracking_uri: str | None = None) -> None:
    """Raise what `find_checkpoint` would raise, without a download."""
    if _on_disk(run, store) is None:
        _from_mlflow(run, store, tracking_uri, fetch=False)


def place_to_resume(resume: str, *, store: Path, tracking_uri: str | None = None, fetch: bool = True) -> str:
    """What `resume` means as a path: an MLflow run's id becomes its folder, or its last checkpoint brought here.

    Args:
        resume: a checkpoint, a run's folder, an MLflow run id or its beginning, or auto.
        store, tracking_uri: as above.
        fetch: False: only look whether it is there.

    Raises:
        UserError: it is none of these, the folder or the run has no checkpoint, or there is no such run.
    """
    path = Path(resume).expanduser()
    if resume == AUTO:
        return resume
    if path.is_file():
        _refuse_other_file(path, f"resume={resume}")
        return resume
    if path.is_dir():
        if not [*path.glob("checkpoints/*.ckpt"), *path.glob("*.ckpt")]:
            raise UserError(f"`resume={resume}`: there is no checkpoint in that folder.")
        return resume
    if not re.fullmatch(r"[0-9a-f]{6,32}", resume):
        raise UserError(
            f"`resume={resume}`: there is no such file or folder. It takes a checkpoint, a run's folder, the id of an "
            f"MLflow run, or auto."
        )
    try:
        client = open_client(resume, store, tracking_uri)
        with readable_errors(resume, store, tracking_uri):
            found = run_by_id(client, resume)
    except UserError as error:
        raise UserError(str(error).replace(f"`run={resume}`", f"`resume={resume}`").split(" `run=last`")[0]) from error
    local = local_folder(found, tracking_uri)
    if local is not None:
        return str(local)
    with readable_errors(resume, store, tracking_uri):
        check_artifact_place(found, tracking_uri)
        return str(download_checkpoint(client, found.info.run_id, store, names=CHECKPOINTS[::-1], fetch=fetch))


def _on_disk(run: str, store: Path) -> Path | None:
    path = Path(run).expanduser()
    if path.is_file():
        _refuse_other_file(path, f"run={run}")
        return path
    if path.is_dir():
        return checkpoint_in(path) or _refuse(f"`run={run}`: there is no checkpoint in that folder.")
    if path.suffix == ".ckpt":
        _refuse(f"`run={run}`: there is no such checkpoint file.")
    return _last(store) if run == "last" else None


def _refuse_other_file(path: Path, requested: str) -> None:
    """A checkpoint is a zip archive, or a pickle of old; anything else torch refuses in a paragraph on pickling."""
    try:
        with path.open("rb") as file:
            begins = file.read(2)
    except OSError as error:
        raise UserError(f"`{requested}`: {path} cannot be read: {error.strerror}.") from error
    if begins and begins != b"PK" and begins[:1] != b"\x80":
        raise UserError(f"`{requested}`: this file is no checkpoint; a run keeps its own as RUN/checkpoints/*.ckpt.")


def _refuse(sentence: str) -> Any:
    raise UserError(sentence)


def checkpoint_in(folder: Path) -> Path | None:
    places = [folder / "checkpoints" / name for name in CHECKPOINTS]
    places += [folder / name for name in (*CHECKPOINTS, EXPORTED)]
    return next((place for place in places if place.is_file()), None)


def _last(store: Path) -> Path:
    """The newest run's best checkpoint: run folders are named by the time they began."""
    kept = sorted((store / "runs").glob("**/checkpoints"), key=lambda folder: folder.stat().st_mtime)
    for folder in reversed(kept):
        found = checkpoint_in(folder.parent)
        if found:
            return found
    raise UserError(f"`run=last`: no run under {store / 'runs'} has kept a checkpoint. Train one first: `lantu train`.")


def _from_mlflow(run: str, store: Path, tracking_uri: str | None, *, fetch: bool) -> Path:
    client = open_client(run, store, tracking_uri)
    with readable_errors(run, store, tracking_uri):
        found = _in_mlflow(client, run)
        local = local_folder(found, tracking_uri)
        kept = checkpoint_in(local) if local is not None else None
        if kept is not None:
            return kept
        check_artifact_place(found, tracking_uri)
        return download_checkpoint(client, found.info.run_id, store, fetch=fetch)


def _in_mlflow(client: Any, run: str) -> Any:
    """The MLflow run that is meant: the best of an experiment, that of a registered model, or one by its id or name."""
    if run.startswith("best:"):
        return best_run(client, run.removeprefix("best:"))
    if run.startswith(REGISTERED):
        return client.get_run(resolve(client, run).run_id)
    return run_by_id(client, run)


def find_registered(uri: str, *, store: Path, tracking_uri: str | None) -> RegisteredVersion:
    """The version that models:/NAME@ALIAS or models:/NAME/VERSION means now.

    Raises:
        UserError: the URI is none, or nothing is registered under it.
    """
    client = open_client(uri, store, tracking_uri)
    with readable_errors(uri, store, tracking_uri):
        return resolve(client, uri)


def find_run(run: str, *, store: Path, tracking_uri: str | None = None) -> tuple[Any, Any]:
    """MLflow's client, and the MLflow run that `run=...` names: an id, a name, best:EXPERIMENT, models:/..., last.

    Raises:
        UserError: there is none.
    """
    if run == "last" or Path(run).expanduser().exists():
        run = _recorded_id(_on_disk(run, store), run)
    client = open_client(run, store, tracking_uri)
    with readable_errors(run, store, tracking_uri):
        return client, _in_mlflow(client, run)


def _recorded_id(checkpoint: Path | None, run: str) -> str:
    """The id in MLflow of the run whose folder holds a checkpoint."""
    folder = checkpoint.parent.parent if checkpoint else Path(run)
    try:
        found = RunFolder(folder).upload_progress().run_id
    except Exception:  # a folder that is no run's
        found = None
    if found is None:
        raise UserError(f"`run={run}`: {folder} is not in MLflow yet; `lantu sync` uploads it.")
    return str(found)
