"""Look up runs on an MLflow server or in its database, and download their checkpoints."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lantu.errors import UserError
from lantu.metric_direction import direction
from lantu.notices import warn_once
from lantu.redaction import redact
from lantu.tracking.artifacts import artifacts_of, download
from lantu.tracking.further import metrics_of, params_of
from lantu.tracking.mlflow_client import FAILED, open_mlflow
from lantu.tracking.run_folder import RunFolder

CHECKPOINTS = ("best.ckpt", "last.ckpt")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
ANSWER_SECONDS = 10.0
"""Time limit for a connection to a server, in seconds; MLflow itself would retry for minutes."""


def open_client(run: str, store: Path, tracking_uri: str | None) -> Any:
    if tracking_uri is None and not (store / "mlflow.db").is_file():
        raise UserError(f"`run={run}`: there is no file or folder of that name, and {store} has no runs in MLflow.")
    if tracking_uri is not None:
        refuse_silent(tracking_uri)
    return open_mlflow(tracking_uri or f"sqlite:///{store.resolve() / 'mlflow.db'}")


def refuse_silent(tracking_uri: str) -> None:
    """Raise a `UserError` if no server answers at the address; stores without a server are not checked."""
    address = urlsplit(tracking_uri)
    if address.scheme not in ("http", "https") or not address.hostname:
        return
    if address.scheme in getproxies() and not proxy_bypass(address.hostname):
        return  # reached through a proxy, whose matter it is
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:  # the latter of a port that is none
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"the MLflow server at {address.scheme}://{address.netloc.rpartition('@')[2]} does not answer ({reason}). "
            "Name another with `paths.tracking_uri=...`, or null for the runs of this folder."
        ) from error


@contextmanager
def readable_errors(run: str, store: Path, tracking_uri: str | None) -> Iterator[None]:
    """Convert the errors that MLflow raises for a server or a damaged database to a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = redact(next(iter(str(error).splitlines()), "") or type(error).__name__)[:300]
        if tracking_uri is None:
            raise UserError(
                f"`run={run}`: MLflow's database {store / 'mlflow.db'} cannot be read ({reason}). "
                f"`lantu sync --rebuild --store {store}` makes it again from the runs' journals; a run folder or a "
                f"checkpoint file works without it."
            ) from error
        raise UserError(f"`run={run}`: the MLflow server's answer cannot be used ({reason}).") from error


def best_run(client: Any, experiment: str) -> Any:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        from lantu.suggestions import did_you_mean

        names = [each.name for each in client.search_experiments()]
        raise UserError(
            f"`run=best:{experiment}`: there is no experiment of that name.{did_you_mean(experiment, names)} "
            f"There are: {', '.join(names)}."
        )
    runs = [run for run in _pages(client, found.experiment_id) if "lantu.baseline" not in run.data.tags]
    monitors = {_monitor(run) for run in runs}
    if len(monitors) > 1:
        raise UserError(
            f"`run=best:{experiment}`: its runs kept their best checkpoint by different metrics "
            f"({', '.join(sorted(name for name, _ in monitors))}). Name a run: `lantu runs` lists them."
        )
    metric, mode = next(iter(monitors), ("val/loss", "min"))
    valued = [(value, run) for run in runs if (value := _value_at_best(client, run, metric, mode)) is not None]
    if not valued:
        raise UserError(f"`run=best:{experiment}`: no finished run there has logged `{metric}`.")
    return (min if mode == "min" else max)(valued, key=lambda each: each[0])[1]


def _pages(client: Any, experiment_id: str) -> Iterator[Any]:
    """All finished runs of an experiment, the newest first."""
    token = None
    while True:
        page = client.search_runs([experiment_id], "attributes.status = 'FINISHED'", max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _monitor(run: Any) -> tuple[str, str]:
    """The metric by which a run kept its best checkpoint, and its direction."""
    params = params_of(run)
    metric = params.get("callbacks.checkpoint.monitor", "val/loss")
    return metric, direction(metric, params.get("callbacks.checkpoint.mode", "auto"))


def _value_at_best(client: Any, run: Any, metric: str, mode: str) -> float | None:
    """The metric at a run's best epoch; None where it was not logged, or is not a number."""
    value = metrics_of(run).get(f"{metric}_best")
    if value is None and metric in run.data.metrics:  # a run that did not note its best epoch
        values = [each.value for each in client.get_metric_history(run.info.run_id, metric) if isfinite(each.value)]
        value = (min if mode == "min" else max)(values, default=None)
    return value if value is not None and isfinite(value) else None


def run_by_id(client: Any, run: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run)
    except MlflowException as error:
        if error.error_code == FAILED:  # the server itself: it is not asked again for another reading of the name
            raise
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


def local_folder(run: Any, tracking_uri: str | None) -> Path | None:
    """The run's folder, where it is on this machine.

    The path is from the server, which could name any folder. So for a server's run it is used only if the folder's own
    record confirms that it is this run's, and a message says so.
    """
    folder = Path(run.data.tags.get("lantu.run_dir", "/nowhere"))
    try:
        if not folder.is_dir():
            return None
    except OSError:  # a name that is too long, or a folder of someone else
        return None
    if urlsplit(tracking_uri or "").scheme in ("http", "https"):
        if RunFolder(folder).upload_progress().run_id != run.info.run_id:
            return None
        warn_once(f"run {run.info.run_id} is read from {folder} on this machine")
    return folder


def download_checkpoint(
    client: Any, run_id: str, store: Path, names: tuple[str, ...] = CHECKPOINTS, *, fetch: bool = True
) -> Path:
    """The local path of a run's checkpoint; with `fetch` it is downloaded."""
    if not RUN_ID.fullmatch(run_id):  # it becomes a folder's name
        raise UserError("the MLflow server answers with a run id that is none.")
    folder = store / "cache" / "downloads" / run_id
    kept = {each.path: each for each in artifacts_of(client, run_id, "checkpoints")}
    for name in (f"checkpoints/{each}" for each in names):
        if name in kept and not fetch:
            return folder / name
        if name in kept:
            folder.mkdir(parents=True, exist_ok=True)
            return download(client, run_id, kept[name], folder)
    raise UserError(f"The run {run_id} has no checkpoint among its artifacts, and its folder is not on this machine.")
