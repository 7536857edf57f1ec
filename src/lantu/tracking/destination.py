"""Write one run to an MLflow store; the run is found there or created."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from lantu.tracking.journal import Record
from lantu.tracking.mlflow_client import open_mlflow
from lantu.tracking.names import to_mlflow
from lantu.tracking.store import artifact_location, database_of, ensure_store, turn

RUN_TAG = "lantu.run"  # our own id of a run, which makes creating it idempotent
PERMANENT = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"}
BUSY = "QueuePool limit"
"""In the message of a server whose connections to the database are all in use; it answers with BAD_REQUEST."""
_TABLES = "mlflow.loggedArtifacts"  # where MLflow's UI looks for tables
_MODELS = "mlflow.log-model.history"  # and for models
KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens in the UI as training, not as chat


_PARENTS: dict[tuple[str, str], str] = {}
"""MLflow run ids of parent runs, by store and by our own id: the thousand trials of a sweep share one look-up."""


class RunDeleted(Exception):
    """The run was deleted in MLflow; nothing more is sent."""


class Destination:
    """A tracking store and, once `open` has been called, one run in it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        ensure_store(uri)
        self.client = open_mlflow(uri)
        self.run_id = ""
        self.params: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self._tags: dict[str, str] = {}

    def open(self, begin: Record, run_id: str | None) -> bool:
        """Find the journal's run or create it, and return whether it was created.

        Raises:
            RunDeleted: it was deleted in MLflow.
        """
        run = self._known(run_id) or self._known(begin.get("run_id")) or self._found(begin)
        created = run is None
        run = run or self._create(begin, self._parent(begin))
        if run.info.lifecycle_stage == "deleted":
            raise RunDeleted(f"the run {run.info.run_id} was deleted in MLflow")
        if not run.info.run_id:
            raise MlflowException("the server answers without a run id")  # kept, it would never be asked for again
        self.run_id, self.experiment_id = run.info.run_id, run.info.experiment_id
        self.params, self.metrics = dict(run.data.params), dict(run.data.metrics)
        self._tags = dict(run.data.tags)
        self._status = run.info.status
        return created

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags, as far as they were found or sent."""
        return self._tags

    def log(self, metrics: list[Metric], params: dict[str, str], tags: dict[str, str]) -> int:
        """Send one batch within MLflow's limits, and return how many values MLflow refuses for good.

        Rows of metrics are identified by name, time, step and value, so sending a batch again changes
        nothing.
        """
        new = {key: value for key, value in params.items() if key not in self.params}
        drifted = {key: value for key, value in params.items() if self.params.get(key, value) != value}
        if drifted:
            tags = {**tags, "param_drift": self._drift(drifted)}
        given = [*metrics, *(Param(*each) for each in new.items()), *(RunTag(*each) for each in tags.items())]
        refused = self._send(given)
        self.params.update(new)
        self._tags.update(tags)
        return refused

    def log_input(self, record: Record) -> None:
        """Record a data set; MLflow keeps one of the same name and digest once."""
        known = ("name", "digest", "source_type", "source", "schema", "profile")
        fields: dict[str, Any] = {key: record.get(key) for key in known}
        context = record.get("context")
        tags = [InputTag("mlflow.data.context", context)] if context else []
        with self._turn():
            self.client.log_inputs(self.run_id, [DatasetInput(Dataset(**fields), tags)])

    def note_table(self, path: str) -> None:
        """Tell the UI that an artifact is a table."""
        tables = json.loads(self._tags.get(_TABLES, "[]"))
        entry = {"path": path, "type": "table"}
        if entry not in tables:
            self.log([], {}, {_TABLES: json.dumps([*tables, entry])})

    def note_model(self, folder: Path, path: str) -> None:
        """Tell the UI that an artifact is a model, as MLflow's `log_model` does."""
        described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        entry = {"run_id": self.run_id, "artifact_path": path}
        known = ("utc_time_created", "flavors", "model_uuid", "mlflow_version")
        entry |= {name: described[name] for name in known if name in described}
        models = json.loads(self._tags.get(_MODELS, "[]"))
        others = [each for each in models if each.get("artifact_path") != path]
        self.log([], {}, {_MODELS: json.dumps([*others, entry], default=str)})

    def upload(self, path: str, to: str | None) -> None:
        """Copy a file or folder to the run's artifacts, over what has the same name there."""
        self.client.log_artifact(self.run_id, path, to)

    def running(self) -> None:
        """Show the run as running again, after a resume."""
        if self._status != "RUNNING":
            with self._turn():
                self.client.update_run(self.run_id, status="RUNNING")
            self._status = "RUNNING"

    def end(self, status: str, at: int | None) -> None:
        """Set the final status: FINISHED, FAILED or KILLED; `at` in milliseconds."""
        with self._turn():
            self.client.set_terminated(self.run_id, status, at)
        self._status = status

    def _send(self, given: list[Any]) -> int:
        if not given:
            return 0
        try:
            with self._turn():
                self.client.log_batch(
                    self.run_id,
                    metrics=[each for each in given if isinstance(each, Metric)],
                    params=[each for each in given if isinstance(each, Param)],
                    tags=[each for each in given if isinstance(each, RunTag)],
                )
            return 0
        except MlflowException as error:
            if error.error_code not in PERMANENT or BUSY in str(error.message):
                raise
            self._check_not_deleted()
            if len(given) == 1:
                print(f"MLflow refuses {given[0].key}: {error.message}", flush=True)
                return 1
        # MLflow refuses a whole batch for one bad value: bisect, so that all others arrive
        middle = len(given) // 2
        return self._send(given[:middle]) + self._send(given[middle:])

    def _drift(self, drifted: dict[str, str]) -> str:
        earlier = json.loads(self._tags.get("param_drift", "{}"))
        changes = {key: {"was": self.params[key][:200], "is": value[:200]} for key, value in drifted.items()}
        merged = {**earlier, **changes}
        while len(text := json.dumps(merged)) > 5000:
            merged.popitem()
        return text

    def _known(self, run_id: str | None) -> Run | None:
        if not run_id:
            return None
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None  # the store has changed since the last upload
            raise

    def _found(self, begin: Record) -> Run | None:
        experiment = self.client.get_experiment_by_name(begin["experiment"])
        if experiment is None:
            return None
        found = self.client.search_runs([experiment.experiment_id], f"tags.`{RUN_TAG}` = '{begin['run']}'")
        return found[0] if found else None

    def _create(self, begin: Record, parent: str | None) -> Run:
        tags = {RUN_TAG: begin["run"], **({"mlflow.parentRunId": parent} if parent else {})}
        with self._turn():
            return self.client.create_run(
                self._experiment(begin["experiment"]), start_time=begin["t"], tags=tags, run_name=begin["name"]
            )

    def _parent(self, begin: Record) -> str | None:
        """The MLflow run of the parent; created here if the parent has not been uploaded yet."""
        parent = begin.get("parent")
        if not parent:
            return None
        key = (self.uri, parent["run"])
        if key not in _PARENTS:
            run = self._found(parent) or self._create(parent, None)
            _PARENTS[key] = run.info.run_id
        return _PARENTS[key]

    def _experiment(self, name: str) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self.client.create_experiment(name, artifact_location(self.uri, name), tags=KIND))
            except MlflowException as error:
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _check_not_deleted(self) -> None:
        if self.client.get_run(self.run_id).info.lifecycle_stage == "deleted":
            raise RunDeleted(f"the run {self.run_id} was deleted in MLflow")

    def _turn(self) -> AbstractContextManager[None]:
        return turn(self.uri) if database_of(self.uri) else nullcontext()


def metric(name: str, value: float | str, record: Record) -> Metric:
    """A metric as MLflow takes it; stores keep steps in 64 bits."""
    step = max(-(2**63), min(record.get("step", 0), 2**63 - 1))
    return Metric(to_mlflow(name), float(value), record["t"], step)
