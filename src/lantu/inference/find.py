"""Find the checkpoint that a person means by `run=...`."""

from pathlib import Path
from typing import Any

from lantu.errors import UserError

CHECKPOINTS = ("best.ckpt", "last.ckpt")


def find_checkpoint(run: str, *, store: Path, tracking_uri: str | None = None) -> Path:
    """The checkpoint file of a run.

    Args:
        run: "last", "best:EXPERIMENT", an MLflow run id or its beginning, a run folder, or a checkpoint file.
        store: the folder with local runs, usually ./mlruns.
        tracking_uri: where MLflow's runs are; None: the store's own database.

    Raises:
        UserError: nothing of that name, or the run kept no checkpoint.
    """
    path = Path(run).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        return _in_folder(path) or _refuse(f"`run={run}`: there is no checkpoint in that folder.")
    if path.suffix == ".ckpt":
        _refuse(f"`run={run}`: there is no such checkpoint file.")
    if run == "last":
        return _last(store)
    return _from_mlflow(run, store, tracking_uri)


def _refuse(sentence: str) -> Any:
    raise UserError(sentence)


def _in_folder(folder: Path) -> Path | None:
    places = [folder / "checkpoints" / name for name in CHECKPOINTS] + [folder / name for name in CHECKPOINTS]
    return next((place for place in places if place.is_file()), None)


def _last(store: Path) -> Path:
    """The newest run's best checkpoint: run folders are named by the time they began."""
    kept = sorted((store / "runs").glob("**/checkpoints"), key=lambda folder: folder.stat().st_mtime)
    for folder in reversed(kept):
        found = _in_folder(folder.parent)
        if found:
            return found
    raise UserError(f"`run=last`: no run under {store / 'runs'} has kept a checkpoint. Train one first: `lantu train`.")


def folder_or_last_checkpoint(run: str, *, store: Path, tracking_uri: str | None = None) -> Path:
    """Where a run can be resumed: its folder if it is on this machine, else its last checkpoint, downloaded.

    Args:
        run: an MLflow run id or its beginning.
        store, tracking_uri: as above.

    Raises:
        UserError: there is no such run, or it has no checkpoint.
    """
    client = _client(run, store, tracking_uri)
    found = _by_id(client, run)
    local = Path(found.data.tags.get("lantu.run_dir", "/nowhere"))
    return local if local.is_dir() else _downloaded(client, found.info.run_id, store, names=CHECKPOINTS[::-1])


def _client(run: str, store: Path, tracking_uri: str | None) -> Any:
    from mlflow import MlflowClient

    if tracking_uri is None and not (store / "mlflow.db").is_file():
        raise UserError(f"`run={run}`: there is no file, folder or MLflow store of that name ({store} has no runs).")
    return MlflowClient(tracking_uri or f"sqlite:///{store.resolve() / 'mlflow.db'}")


def _from_mlflow(run: str, store: Path, tracking_uri: str | None) -> Path:
    client = _client(run, store, tracking_uri)
    found = _best_of(client, run.removeprefix("best:")) if run.startswith("best:") else _by_id(client, run)
    local = Path(found.data.tags.get("lantu.run_dir", "/nowhere"))
    return _in_folder(local) or _downloaded(client, found.info.run_id, store)


def _best_of(client: Any, experiment: str) -> Any:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        from lantu.config.near import did_you_mean

        names = [each.name for each in client.search_experiments()]
        raise UserError(
            f"`run=best:{experiment}`: there is no experiment of that name.{did_you_mean(experiment, names)} "
            f"There are: {', '.join(names)}."
        )
    runs = client.search_runs(
        [found.experiment_id],
        filter_string="attributes.status = 'FINISHED'",
        order_by=["metrics.`val/loss` ASC"],
        max_results=1,
    )
    if not runs or "val/loss" not in runs[0].data.metrics:
        raise UserError(f"`run=best:{experiment}`: no finished run there has logged `val/loss`.")
    return runs[0]


def _by_id(client: Any, run: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run)
    except MlflowException:
        pass
    everywhere = [each.experiment_id for each in client.search_experiments()]
    begins = [each for each in client.search_runs(everywhere) if each.info.run_id.startswith(run)]
    named = [each for each in client.search_runs(everywhere) if each.info.run_name == run]
    for matches in (begins, named):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UserError(
                f"`run={run}` means {len(matches)} runs: {', '.join(each.info.run_id for each in matches[:5])}."
            )
    raise UserError(
        f"`run={run}`: there is no run with that id or name. `run=last`, `run=best:EXPERIMENT`, "
        "a run folder and a checkpoint file work too; `lantu runs` lists what is here."
    )


def _downloaded(client: Any, run_id: str, store: Path, names: tuple[str, ...] = CHECKPOINTS) -> Path:
    folder = store / "cache" / "downloads" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    kept = [each.path for each in client.list_artifacts(run_id, "checkpoints")]
    for name in (f"checkpoints/{each}" for each in names):
        if name in kept:
            return Path(client.download_artifacts(run_id, name, str(folder)))
    raise UserError(f"The run {run_id} has no checkpoint among its artifacts, and its folder is not on this machine.")
