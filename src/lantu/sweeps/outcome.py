"""What becomes of a sweep's best trial: measured against baselines, and registered."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.redaction import redact
from lantu.sweeps.parent import ParentRun
from lantu.sweeps.state.status import Watcher
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder
from lantu.sweeps.trial import PARENT
from lantu.tracking.mlflow_client import open_mlflow

SHOWN = ("accuracy", "auroc", "f1", "r2", "rmse", "loss", "ece")


def best_trial(sweep: SweepFolder) -> TrialFolder | None:
    """The finished trial that is best in the first objective."""
    best = Watcher(sweep).look().best
    return None if best is None else sweep.trial(best.number)


def outdo(sweep: SweepFolder, best: TrialFolder, parent: ParentRun, console: Console) -> None:
    """Measure a trivial and a classical model on the best trial's data, and show all three."""
    from hydra.utils import get_class
    from omegaconf import OmegaConf

    from lantu.config.build import build
    from lantu.sweeps.record_baselines import record

    cfg = OmegaConf.load(best.path / "config.yaml")
    data = build(cfg.data)
    data.prepare_data()
    try:
        task: Any = get_class(cfg.task["_target_"])
        found = task.baselines_for(data, cfg.task)
    except ValueError as error:
        console.print(f"baselines   none: {error}")
        return
    kept = sweep.path / PARENT
    for each in found if kept.is_file() else []:
        record(sweep, each, tracking_uri=parent.redacted_uri, parent=json.loads(kept.read_text()))
    ours = best.state().values
    metrics = [name for name in SHOWN if f"test/{name}" in ours and all(f"test/{name}" in b.metrics for b in found)]
    table = Table(box=None, padding=(0, 2))
    table.add_column("on the same test rows")
    for name in metrics:
        table.add_column(f"test/{name}", justify="right")
    for each in found:
        text = f"{each.name}: {each.description}"
        table.add_row(text, *(f"{each.metrics[f'test/{name}']:.4g}" for name in metrics))
    table.add_row(f"[bold]{escape(best.name)}[/bold]", *(f"{ours[f'test/{name}']:.4g}" for name in metrics))
    console.print("", table, "")


def register(name: str, best: TrialFolder, parent: ParentRun, console: Console, *, arrived: bool) -> None:
    """Put the best trial's model into MLflow's registry."""
    from lantu.tracking.run_folder import RunFolder

    run_id = RunFolder(best.path).upload_progress().run_id
    model = best.path / "model"
    if not arrived or run_id is None or not model.is_dir():
        why = "the trial kept no model (`save_model=true`)" if not model.is_dir() else "MLflow has not been reached"
        console.print(f"registered  nothing: {why}", soft_wrap=True)
        return
    from mlflow.exceptions import MlflowException

    client = open_mlflow(parent.uri)
    try:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        version = client.create_model_version(name, source, run_id, description=f"best of the sweep {best.name}")
    except MlflowException as error:  # the trials are done and kept: what a server answers must not fail the sweep
        reason = redact(next(iter(str(error).splitlines()), ""))[:300]
        console.print(f"registered  nothing: MLflow's store cannot be used: {escape(reason)}", soft_wrap=True)
        console.print(f"            lantu register run={run_id} name={name}   tries again", soft_wrap=True)
        return
    console.print(f"registered  {name}, version {version.version}: {best.name}", soft_wrap=True)
