"""What is known of a registered version: metrics, stored predictions, load test, size, lineage."""

import ast
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel

from lantu.checkpoints.digest import KEY, digest_of
from lantu.errors import UserError
from lantu.prediction_file import FOLDER, read_predictions
from lantu.registry import evidence_files
from lantu.tracking.artifacts import artifacts_of, download
from lantu.tracking.find import checkpoint_in
from lantu.tracking.further import metrics_of, params_of
from lantu.tracking.mlflow_runs import local_folder
from lantu.tracking.registered import RegisteredVersion

MOST_BYTES = 200_000_000


@dataclass
class Evidence:
    """What a run has left for a decision."""

    run_id: str
    name: str = ""
    """Of the run."""
    version: str = ""
    """In the registry; empty where it is not registered."""
    status: str = ""
    """MLflow's word for how the run ended, such as FINISHED."""
    weights: str | None = None
    """The digest of the weights that serve; None: not known here."""
    stale: dict[str, str] = field(default_factory=dict)
    """Why a file says nothing of these weights, by its name; its content is left out."""
    metrics: dict[str, float] = field(default_factory=dict)
    lineage: dict[str, str] = field(default_factory=dict)
    """Code revision, data digests, MLflow run, seed."""
    folder: Path | None = None
    """The run's folder, where it is on this machine."""
    predictions: dict[str, pd.DataFrame] = field(default_factory=dict)
    """By split."""
    load: dict[str, Any] | None = None
    """`load.json`."""
    equality: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`equality.json` of each export."""
    delta: float | None = None
    """Of differential privacy: epsilon holds at this delta."""
    groups: list[str] = field(default_factory=list)
    """Columns by which `fairness.group` had the test measured."""
    group_sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Test examples of each group, by column."""
    monitoring: dict[str, Any] | None = None
    """The newest `monitoring.json` in the run's folder, with `at`, the name of its folder."""
    bytes: int | None = None
    """Of the weights."""
    tried_baselines: bool = False
    """Whether the run was asked to be compared with simple models."""

    @property
    def usd_per_hour(self) -> float | None:
        """Of the machine that was loaded; None: not known."""
        found = (self.load or {}).get("server_per_hour")
        return None if found is None else float(found)

    def fresh(self, name: str, content: dict[str, Any] | None, form: type[BaseModel]) -> dict[str, Any] | None:
        """The content of a file that was measured on these weights; of another none, and `stale` says why.

        Args:
            name: of the file, in the run's folder.
            content: as it was read; None: there is no such file.
            form: that it must have.
        """
        if content is None:
            return None
        if (wrong := evidence_files.what_is_wrong(form, content)) is not None:
            self.stale[name] = f"{name} cannot be used, since it is damaged or was edited: {wrong}"
            return None
        measured = content.get(KEY)
        if measured is not None and measured == self.weights:
            return content
        self.stale[name] = _why_stale(name, measured, self.weights)
        return None


def gather(
    client: Any, run: Any, version: RegisteredVersion | None = None, *, tracking_uri: str | None = None
) -> Evidence:
    """Read what a run has left, from its folder on this machine or from its artifacts.

    Args:
        client: MLflow's.
        run: MLflow's run.
        version: of the registry.
        tracking_uri: of the store; a server's word for a folder of this machine is checked.
    """
    tags, params = run.data.tags, params_of(run)
    found = Evidence(run.info.run_id, name=run.info.run_name or "", version=version.version if version else "")
    found.status = str(run.info.status)
    found.metrics = {str(name): float(value) for name, value in metrics_of(run).items()}
    found.tried_baselines = params.get("baselines") == "True"
    found.groups = _names(params.get("fairness.group"))
    found.folder = local_folder(run, tracking_uri)
    _read_privacy(found, client, run)
    found.lineage = {"MLflow run": run.info.run_id}
    for label, value in (
        ("code", tags.get("mlflow.source.git.commit") or tags.get("lantu.git.commit")),
        ("seed", params.get("seed")),
        ("config", tags.get("lantu.config_digest")),
    ):
        if value:
            found.lineage[label] = str(value)
    for each in run.inputs.dataset_inputs if run.inputs else []:
        context = next((tag.value for tag in each.tags if tag.key == "mlflow.data.context"), each.dataset.name)
        found.lineage[f"data, {context}"] = each.dataset.digest
    with tempfile.TemporaryDirectory() as name:
        found.weights = _weights(client, found, Path(name))
        if found.weights:
            found.lineage["weights"] = found.weights
        for split in ("test", "val"):
            _read_predictions(found, split, _file(client, found, f"{FOLDER}/{split}.parquet", Path(name)))
        path = _file(client, found, "fairness.json", Path(name))
        by_group = found.fresh("fairness.json", _content(path), evidence_files.Fairness) or {}
        found.metrics |= by_group.get("metrics", {})
        found.group_sizes = by_group.get("examples", {})
        found.groups += [each for each in by_group.get("group", []) if each not in found.groups]
        path = _file(client, found, "baselines.json", Path(name))
        simple = found.fresh("baselines.json", _content(path), evidence_files.Baselines)
        if simple is not None:
            found.metrics |= simple.get("metrics", {})
            found.tried_baselines = True
        path = _file(client, found, "load.json", Path(name))
        found.load = found.fresh("load.json", _content(path), evidence_files.Load)
    if found.folder is not None:
        for file in found.folder.glob("export/*/equality.json"):
            form = file.parent.name
            name = f"export/{form}/equality.json"
            if content := found.fresh(name, _content(file), evidence_files.EqualityOfExport):
                found.equality[form] = content
        report = _newest_report(found.folder)
        found.monitoring = found.fresh("monitoring.json", report, evidence_files.Monitoring)
        checkpoint = found.folder / "checkpoints" / "best.ckpt"
        weights = [*found.folder.glob("model/**/*.ckpt"), *([checkpoint] if checkpoint.is_file() else [])]
        found.bytes = weights[0].stat().st_size if weights else None
    return found


def _weights(client: Any, found: Evidence, place: Path) -> str | None:
    """The digest of what serves: of the run's checkpoint here, or as the MLflow model in its artifacts states it."""
    if found.folder is not None:
        checkpoint = checkpoint_in(found.folder)
        return digest_of(checkpoint) if checkpoint is not None else None
    path = _file(client, found, "model/MLmodel", place)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    stated = content.get("metadata") if isinstance(content, dict) else None
    return str(stated[KEY]) if isinstance(stated, dict) and stated.get(KEY) else None


def _read_predictions(found: Evidence, split: str, path: Path | None) -> None:
    """Stored predictions, unless they say that they are of other weights; those of earlier runs say nothing."""
    if path is None:
        return
    name = f"{FOLDER}/{split}.parquet"
    try:
        frame = read_predictions(path)
    except UserError as error:
        found.stale[name] = str(error).rstrip(".")
        return
    of = frame.attrs.get(KEY)
    if of is not None and found.weights is not None and of != found.weights:
        found.stale[name] = _why_stale(name, str(of), found.weights)
        return
    found.predictions[split] = frame


def _why_stale(name: str, measured: Any, weights: str | None) -> str:
    if weights is None:
        return f"{name} cannot be used: the run's weights are not here, so it may be of others"
    if measured is None:
        return f"{name} is stale: it does not say on which weights it was measured"
    return f"{name} is stale: it was measured on the weights {measured[:8]}, and the run's are {weights[:8]} now"


def _file(client: Any, found: Evidence, name: str, place: Path) -> Path | None:
    if found.folder is not None:
        path = found.folder / name
        return path if path.is_file() else None
    folder = str(Path(name).parent)
    try:
        there = artifacts_of(client, found.run_id, None if folder == "." else folder)
        file = next((each for each in there if each.path == name and (each.file_size or 0) <= MOST_BYTES), None)
        return None if file is None else download(client, found.run_id, file, place)
    except Exception:  # a store without artifacts, or one that cannot be reached from here
        return None


def _read_privacy(found: Evidence, client: Any, run: Any) -> None:
    """Epsilon is that of the whole sweep that a run is of: choosing among its runs looks at all of them."""
    epsilons = [found.metrics["privacy/epsilon"]] if "privacy/epsilon" in found.metrics else []
    path = found.folder / "privacy.json" if found.folder is not None else None
    account = _content(path)
    if account is not None and (wrong := evidence_files.what_is_wrong(evidence_files.Privacy, account)) is not None:
        found.stale["privacy.json"] = f"privacy.json cannot be used, since it is damaged or was edited: {wrong}"
        found.metrics.pop("privacy/epsilon", None)
        return
    if account is not None:  # of a run that has not ended, all that it may spend
        epsilons.append(float(account["epsilon"]))
    delta = (account or {}).get("delta") or params_of(run).get("privacy.delta")
    parent = run.data.tags.get("mlflow.parentRunId")
    of_sweep = _metric_of(client, parent, "privacy/epsilon") if epsilons and parent else None
    if of_sweep is not None:
        epsilons.append(of_sweep)
    if not epsilons or (parent and of_sweep is None):  # what a sweep has spent is known when it has ended
        found.metrics.pop("privacy/epsilon", None)
        return
    found.metrics["privacy/epsilon"] = max(epsilons)
    found.delta = _number(delta)


def _metric_of(client: Any, run_id: str, metric: str) -> float | None:
    from mlflow.exceptions import MlflowException

    try:
        value: float | None = metrics_of(client.get_run(run_id)).get(metric)
    except MlflowException:  # deleted for good
        return None
    return value


def _number(text: Any) -> float | None:
    """A number as MLflow's parameters keep it."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _names(text: str | None) -> list[str]:
    """A list of names as MLflow's parameters keep it."""
    try:
        found = ast.literal_eval(text or "[]")
    except (ValueError, SyntaxError):
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def _newest_report(folder: Path) -> dict[str, Any] | None:
    """The newest of the run's `monitoring.json`; None where it has none that can be read."""
    for file in sorted(folder.glob("monitoring/*/monitoring.json"), reverse=True):  # folders are named by time
        content = _content(file)
        return {**content, "at": file.parent.name} if content is not None else None
    return None


def _content(path: Path | None) -> dict[str, Any] | None:
    """A mapping in JSON; an empty one of a file that is damaged, None where there is no file."""
    if path is None or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
