"""Upload one run from its journal to MLflow."""

import json
from typing import Any

from mlflow.entities import Metric

from lantu.tracking.column_split import ColumnSplit
from lantu.tracking.destination import Destination, metric
from lantu.tracking.further import FILE
from lantu.tracking.journal import Reader, Record
from lantu.tracking.names import digest, is_cut, to_mlflow
from lantu.tracking.run_folder import RunFolder, UploadProgress

METRICS, OTHERS, BYTES = 800, 100, 500_000  # of a batch; MLflow's limits are 1,000, 100 and 1,000,000


class Batch:
    """The content of one call of `log_batch`."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self._bytes = 0

    def has_room(self, size: int) -> bool:
        fits = len(self.metrics) < METRICS and max(len(self.params), len(self.tags)) < OTHERS
        return not self or (fits and self._bytes + size <= BYTES)

    def __bool__(self) -> bool:
        return bool(self.metrics or self.params or self.tags)

    def count(self, size: int) -> None:
        self._bytes += size


class RunUpload:
    """Upload the records of a journal, keep the progress, and end the run in MLflow once the journal has ended.

    It may be killed at any point: what MLflow has and the progress does not cover is sent again, and a metric, a
    parameter, a tag or an artifact that is there already stays as it is.
    """

    def __init__(self, folder: RunFolder, uri: str) -> None:
        self.folder = folder
        begin = folder.head()
        if begin is None:
            raise ValueError(f"{folder.records} has no whole first record")
        self.progress = folder.upload_progress()
        self._names: set[str] = set()
        self._to = Destination(uri)
        created = self._to.open(begin, self.progress.run_id)
        if created:
            self.progress = UploadProgress()  # the run is new in this store, so all of it is uploaded
        self.progress.run_id, self.progress.experiment_id = self._to.run_id, self._to.experiment_id
        self._split = ColumnSplit(folder.records, self.progress.offset, self._to.tags, self._to.metrics)
        self._to.params |= self._split.further_params
        self._keep()

    def advance(self) -> bool:
        """Upload all there is, and return whether the run has ended and MLflow has all of it."""
        alive = self.folder.owner.is_alive()  # before reading, so that all records of a dead process are read below
        self._upload_records()
        self._tell_status(alive)
        self._upload_artifacts()
        return self.progress.status is not None

    def _upload_records(self) -> None:
        reader = Reader(self.folder.records, self.progress.offset)
        batch = Batch()
        for offset, record in reader:
            handle = getattr(self, f"_on_{record['kind']}", None)
            if handle is not None:
                batch = handle(record, batch)
            # everything before this record is in MLflow or in the batch
            if not batch.has_room(0):
                batch = self._send(batch)
                self._acknowledge(offset)
        batch.tags |= self._split.tags()
        self._send(batch)
        if reader.damaged:
            self.progress.damaged += reader.damaged
            print(f"{reader.damaged} records of {self.folder.records} are damaged and left out", flush=True)
        self._acknowledge(reader.offset)

    def _on_metrics(self, record: Record, batch: Batch) -> Batch:
        for name, value in self._split.metric_columns(record).items():
            batch = self._fit(batch, len(name) + 120)
            batch.metrics.append(metric(name, value, record))
            self._remember(name, batch)
        return batch

    def _on_params(self, record: Record, batch: Batch) -> Batch:
        for name, value in record["values"].items():
            key = to_mlflow(name)
            if not self._split.is_column(name) and key not in self._to.params:
                self._to.params[key] = value
                self._split.keep_param(key, value)
                continue
            if batch.params.get(key, value) != value:
                batch = self._send(batch)  # a change: `Destination.log` compares it with the value sent before
            batch = self._fit(batch, len(json.dumps(value)) + len(name) + 40)
            batch.params[key] = value
            self._remember(name, batch)
        return batch

    def _on_tags(self, record: Record, batch: Batch) -> Batch:
        for name, value in record["values"].items():
            batch = self._fit(batch, len(json.dumps(value)) + len(name) + 40)
            batch.tags[to_mlflow(name)] = value
            self._remember(name, batch)
        return batch

    def _on_input(self, record: Record, batch: Batch) -> Batch:
        self._to.log_input(record)
        return batch

    def _on_table(self, record: Record, batch: Batch) -> Batch:
        self._to.note_table(record["path"])
        return batch

    def _on_columns(self, record: Record, batch: Batch) -> Batch:
        self._split.begin(record)
        return batch

    def _on_begin(self, record: Record, batch: Batch) -> Batch:
        self.progress.ended = self.progress.ended_at = self.progress.status = None
        return batch

    def _on_end(self, record: Record, batch: Batch) -> Batch:
        self.progress.ended, self.progress.ended_at = record["status"], record["t"]
        self.progress.status = None
        return batch

    def _remember(self, name: str, batch: Batch) -> None:
        """Keep the whole name in a tag where MLflow cuts it."""
        if is_cut(name) and name not in self._names:
            self._names.add(name)
            batch.tags[f"lantu.name.{digest(name)}"] = name[:5000]

    def _fit(self, batch: Batch, size: int) -> Batch:
        batch = batch if batch.has_room(size) else self._send(batch)
        batch.count(size)
        return batch

    def _send(self, batch: Batch) -> Batch:
        if batch:
            self.progress.refused += self._to.log(batch.metrics, batch.params, batch.tags)
            self.progress.metrics += len(batch.metrics)
        return Batch()

    def _acknowledge(self, offset: int) -> None:
        if offset != self.progress.offset:
            self.progress.offset = offset
            self._keep()

    def _tell_status(self, alive: bool) -> None:
        status = self.progress.ended or (None if alive else "KILLED")
        if status is None:
            self.progress.status = None
            self._to.running()
        elif status != self.progress.status:
            if self.progress.ended is None:
                self._to.log(
                    [],
                    {},
                    {"lantu.ended": "the process died without a word (killed, out of memory, lost machine)"},
                )
            ended_at = self.progress.ended_at or self._last_sign()
            if status == "FINISHED":
                self._show_best(ended_at)
            if self._split.write_points(self.folder.path / FILE):
                self._to.upload(str(self.folder.path / FILE), None)
            self._to.end(status, ended_at)
            self.progress.status = status
            self._keep()

    def _show_best(self, at: int) -> None:
        """Make the last value of validation metrics, by which MLflow sorts, that of the model that was kept."""
        found = self._split.best_values().items()
        self._to.log([metric(name, value, {"t": at, "step": step}) for name, (step, value) in found], {}, {})

    def _last_sign(self) -> int:
        return int(self.folder.records.stat().st_mtime * 1000)

    def _upload_artifacts(self) -> None:
        failed: Any = None
        for ticket in self.folder.spool.tickets():
            try:
                self._to.upload(str(ticket.copy), ticket.to)
                if (ticket.copy / "MLmodel").is_file():
                    self._to.note_model(
                        ticket.copy, f"{ticket.to}/{ticket.copy.name}" if ticket.to else ticket.copy.name
                    )
            except Exception as error:  # one that is refused must not block the others
                failed = error
            else:
                ticket.done()
                self._keep()
        if failed is not None:
            raise failed

    def _keep(self) -> None:
        self.progress.trouble, self.progress.failures = None, 0
        self.folder.keep(self.progress)
