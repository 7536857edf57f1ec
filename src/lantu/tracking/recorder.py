"""Write a run's record to a local journal, which a separate process uploads to MLflow."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lantu.notices import warn_once
from lantu.redaction import redact, redact_tree
from lantu.tracking.journal import Journal
from lantu.tracking.live_journal import LiveJournal, status_of
from lantu.tracking.parameters import LONGEST_PARAM, LONGEST_TAG, as_text, flatten, shorten
from lantu.tracking.run_folder import RunFolder, store_of


class RunRecorder:
    """Record a run's metrics, parameters, tags, inputs and artifacts, whether or not MLflow is reachable.

    It imports neither torch nor Lightning; `RunLogger` is the same as a Lightning logger.

    A call appends to `<run_dir>/journal` and returns within tens of microseconds. A number survives SIGKILL once the
    call has returned, and a failure of the machine `fsync_seconds` later. Another process uploads the journal to
    MLflow; while no server is reachable the run is kept locally, and `lantu sync` uploads it.

    Nothing is written before the first record. Opening a folder that has a journal continues its run, in the same
    MLflow run.

    Args:
        run_dir: the run's folder; may exist.
        tracking_uri: an MLflow server or database; None: the embedded store around `run_dir`, or in `store`.
        experiment: the MLflow experiment, created when it is missing.
        run_name: how MLflow's UI shows the run.
        tags: MLflow tags to start with.
        store: the folder with mlflow.db; None: the parent of the folder named `runs` that `run_dir` lies in.
        run_id: an existing MLflow run to continue; None: a new one.
        parent: the parent run, as its logger's `as_parent` describes it.
        fsync_seconds: the interval between syncs to disk; a machine that fails loses at most this much.
        ship: start an uploader process; without one `lantu sync` uploads the run.

    Raises:
        UserError: at the first record, when `run_dir` cannot be written.
    """

    def __init__(
        self,
        *,
        run_dir: Path | str,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        store: Path | str | None = None,
        run_id: str | None = None,
        parent: Mapping[str, Any] | None = None,
        fsync_seconds: float = 1.0,
        ship: bool = True,
    ) -> None:
        super().__init__()
        if fsync_seconds <= 0:
            raise ValueError(f"`fsync_seconds` is a time above zero, not {fsync_seconds}")
        self._folder = RunFolder(Path(run_dir).absolute())
        self._experiment = experiment or "Default"
        self._first_tags = dict(tags or {})
        self._continued = run_id
        self._step = 0
        self._live = LiveJournal(
            self._folder,
            begin={
                "experiment": self._experiment,
                "name": redact(run_name or self._folder.run_dir.name),
                "run_id": run_id,
                "parent": dict(parent) if parent else None,
            },
            store=Path(store).absolute() if store else store_of(self._folder.run_dir),
            tracking_uri=tracking_uri,
            fsync_seconds=fsync_seconds,
            uploads=ship,
        )

    @property
    def run_dir(self) -> Path:
        """The run's folder, absolute."""
        return self._folder.run_dir

    @property
    def tracking_uri(self) -> str:
        """Where the run is uploaded to, with the credentials in it, if any."""
        return self._live.uri

    @property
    def uid(self) -> str | None:
        """Lantu's own id of the run, known before the upload; the MLflow tag `lantu.run`."""
        return self._live.uid

    def as_parent(self) -> dict[str, Any]:
        """The argument `parent` for the loggers of this run's children."""
        self._open()
        begin = self._folder.head()
        assert begin is not None
        return {key: begin[key] for key in ("run", "experiment", "name", "t")}

    @property
    def run_id(self) -> str | None:
        """The MLflow run id; None until the run has been uploaded."""
        return self._continued or self._folder.upload_progress().run_id

    def wait_for_run_id(self, seconds: float) -> str | None:
        """The MLflow run id; waits until the uploader has created the run. None when that takes longer."""
        deadline = time.monotonic() + seconds
        while (found := self.run_id) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a step; None: the step of the last call."""
        self._step = self._step if step is None else step
        self._open().append("metrics", step=self._step, values=dict(metrics))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters; nested mappings get dotted names.

        A value beyond MLflow's limit is kept whole as the artifact `params/<name>.txt`. MLflow does not change
        parameters: one that differs after a resume keeps its first value, and the tag `param_drift` has both.
        """
        values = {
            name: self._within(text, LONGEST_PARAM, f"params/{_file_name(name)}.txt")
            for name, text in redact_tree(flatten(params)).items()
        }
        if values:
            self._open().append("params", values=values)

    def choose_columns(self, params: Sequence[str], *, monitor: str) -> None:
        """Say which parameters and metrics MLflow shows as columns; without this call it shows all.

        The others are kept in files of the run, and as far as a comparison needs them in tags.

        Args:
            params: names of parameters.
            monitor: the metric that decides; `MetricColumns` tells which others are columns.
        """
        self._open().append("columns", params=list(params), monitor=monitor)

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces an earlier one. Long ones are kept whole as
        `tags/<name>.txt`."""
        texts = redact_tree({name: as_text(value) for name, value in tags.items()})
        values = {name: self._within(text, LONGEST_TAG, f"tags/{_file_name(name)}.txt") for name, text in texts.items()}
        if values:
            self._open().append("tags", values=values)

    def log_artifact(self, local_path: Path | str, artifact_path: str | None = None) -> bool:
        """Keep a file or folder. It is copied before this returns, so it may be changed or deleted afterwards.

        Args:
            artifact_path: the folder among the run's artifacts; None: the top.

        Returns:
            Whether it could be kept; a warning says why not.
        """
        local = Path(local_path)
        opened = self._open()
        try:
            self._folder.spool.put(local, artifact_path)
        except OSError as error:
            warn_once(f"the artifact {local} could not be kept: {error.strerror or error}.")
            return False
        opened.append("artifact", name=local.name, to=artifact_path)
        return True

    def log_text(self, text: str, artifact_file: str) -> None:
        """Keep a text as an artifact such as `config/command.txt`, without the credentials in it."""
        folder, _, name = artifact_file.rpartition("/")
        opened = self._open()
        try:
            self._folder.spool.put_text(redact(text), name, folder or None)
        except OSError as error:
            warn_once(f"the artifact {artifact_file} could not be kept: {error.strerror or error}.")
            return
        opened.append("artifact", name=name, to=folder or None)

    def log_dict(self, content: Mapping[str, Any] | Sequence[Any], artifact_file: str) -> None:
        """Keep a structure as a JSON artifact, without the credentials in it."""
        self.log_text(json.dumps(redact_tree(content), indent=1, default=str), artifact_file)

    def log_table(self, table: Mapping[str, Sequence[Any]], artifact_file: str) -> None:
        """Keep columns of equal length as a table that MLflow's UI shows beside those of other runs."""
        columns = list(table)
        content = {"columns": columns, "data": [list(row) for row in zip(*table.values(), strict=True)]}
        self.log_text(json.dumps(content, default=str), artifact_file)
        self._open().append("table", path=artifact_file)

    def log_input(
        self,
        *,
        name: str,
        digest: str,
        source_type: str = "local",
        source: str = "",
        schema: str | None = None,
        profile: str | None = None,
        context: str | None = None,
    ) -> None:
        """Record a data set that the run reads.

        Args:
            digest: its fingerprint; MLflow keeps 36 characters.
            source_type, source: where it is from, such as "hugging_face" and JSON that says which.
            schema, profile: JSON that describes its columns and its sizes.
            context: what it is used for, such as "training".
        """
        self._open().append(
            "input",
            name=redact(name)[:500],
            digest=digest[:36],
            source_type=source_type,
            source=redact(source),
            schema=schema,
            profile=profile,
            context=context,
        )

    def close(self, status: str | None = None) -> None:
        """End the run and wait a bounded time for the upload; warn if it is not complete by then.

        Args:
            status: FINISHED, FAILED or KILLED; None: as the stages ended. A process that exits closes its
                runs.
        """
        self._live.close(status or self._live.failure or "FINISHED")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self.close(status_of(error) if error else None)

    def _within(self, text: str, limit: int, artifact_file: str) -> str:
        """A text that MLflow takes; one beyond the limit is kept whole as an artifact and shortened."""
        if len(text) <= limit:
            return text
        self.log_text(text, artifact_file)
        return shorten(text, limit, artifact_file)

    def _open(self) -> Journal:
        """The journal, with the first tags in it."""
        opened = self._live.opened()
        if self._first_tags:
            first, self._first_tags = self._first_tags, {}
            self.log_tags(first)
        return opened


def _file_name(name: str) -> str:
    """A parameter's name as a file's name."""
    return name.replace("/", "_")[:100]
