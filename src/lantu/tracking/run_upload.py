"""One run's way from its journal to MLflow."""

import json
from typing import Any

from mlflow.entities import Metric

from lantu.tracking.destination import Destination, metric
from lantu.tracking.journal import Reader, Record
from lantu.tracking.names import digest, is_cut, to_mlflow
from lantu.tracking.run_folder import RunFolder, Shipped

METRICS, OTHERS, BYTES = 800, 100, 500_000  # of a batch; MLflow's limits are 1,000, 100 and 1,000,000


class Batch:
    """What one `log_batch` takes."""

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
    """Ships what a journal has, remembers how far it came, and ends the run in MLflow when it has ended here.

    Killing it at any point does no harm: what MLflow has taken and we have not noted is sent again, and a
    row, a parameter, a tag or an artifact that is there already stays as it is.
    """

    def __init__(self, folder: RunFolder, uri: str) -> None:
        self.folder = folder
        begin = folder.head()
        if begin is None:
            raise ValueError(f"{folder.records} has no whole first record")
        self.shipped = folder.shipped()
        self._names: set[str] = set()
        self._to = Destination(uri)
        created = self._to.open(begin, self.shipped.run_id)
        if created:
            self.shipped = Shipped()  # a store that has nothing of this run gets all of it
        self.shipped.run_id, self.shipped.experiment_id = self._to.run_id, self._to.experiment_id
        self._keep()

    def advance(self) -> bool:
        """Ship everything there is now; whether the run has ended and MLflow has all of it."""
        alive = self.folder.owner.is_alive()  # asked before reading: what it wrote until then is read below
        self._ship_records()
        self._tell_status(alive)
        self._upload()
        return self.shipped.status is not None

    def _ship_records(self) -> None:
        reader = Reader(self.folder.records, self.shipped.offset)
        batch = Batch()
        for offset, record in reader:
            handle = getattr(self, f"_on_{record['kind']}", None)
            if handle is not None:
                batch = handle(record, batch)
            # everything before this record is in MLflow or in the batch
            if not batch.has_room(0):
                batch = self._send(batch)
                self._acknowledge(offset)
        self._send(batch)
        if reader.damaged:
            self.shipped.damaged += reader.damaged
            print(f"{reader.damaged} records of {self.folder.records} are damaged and left out", flush=True)
        self._acknowledge(reader.offset)

    def _on_metrics(self, record: Record, batch: Batch) -> Batch:
        for name, value in record["values"].items():
            batch = self._fit(batch, len(name) + 120)
            batch.metrics.append(metric(name, value, record))
            self._remember(name, batch)
        return batch

    def _on_params(self, record: Record, batch: Batch) -> Batch:
        for name, value in record["values"].items():
            key = to_mlflow(name)
            if batch.params.get(key, value) != value:
                batch = self._send(batch)  # a change: the destination compares it with what was sent
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

    def _on_begin(self, record: Record, batch: Batch) -> Batch:
        self.shipped.ended = self.shipped.ended_at = self.shipped.status = None
        return batch

    def _on_end(self, record: Record, batch: Batch) -> Batch:
        self.shipped.ended, self.shipped.ended_at = record["status"], record["t"]
        self.shipped.status = None
        return batch

    def _remember(self, name: str, batch: Batch) -> None:
        """Keep the whole of a name that MLflow cuts."""
        if is_cut(name) and name not in self._names:
            self._names.add(name)
            batch.tags[f"lantu.name.{digest(name)}"] = name[:5000]

    def _fit(self, batch: Batch, size: int) -> Batch:
        batch = batch if batch.has_room(size) else self._send(batch)
        batch.count(size)
        return batch

    def _send(self, batch: Batch) -> Batch:
        if batch:
            self.shipped.refused += self._to.log(batch.metrics, batch.params, batch.tags)
            self.shipped.metrics += len(batch.metrics)
        return Batch()

    def _acknowledge(self, offset: int) -> None:
        if offset != self.shipped.offset:
            self.shipped.offset = offset
            self._keep()

    def _tell_status(self, alive: bool) -> None:
        status = self.shipped.ended or (None if alive else "KILLED")
        if status is None:
            self.shipped.status = None
            self._to.running()
        elif status != self.shipped.status:
            if self.shipped.ended is None:
                self._to.log(
                    [],
                    {},
                    {"lantu.ended": "the process died without a word (killed, out of memory, lost machine)"},
                )
            self._to.end(status, self.shipped.ended_at or self._last_sign())
            self.shipped.status = status
            self._keep()

    def _last_sign(self) -> int:
        return int(self.folder.records.stat().st_mtime * 1000)

    def _upload(self) -> None:
        failed: Any = None
        for ticket in self.folder.spool.tickets():
            try:
                self._to.upload(str(ticket.copy), ticket.to)
            except Exception as error:  # one that cannot be taken must not keep back the others
                failed = error
            else:
                ticket.done()
                self._keep()
        if failed is not None:
            raise failed

    def _keep(self) -> None:
        self.shipped.trouble, self.shipped.failures = None, 0
        self.folder.keep(self.shipped)
