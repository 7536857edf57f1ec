"""The layout of a run's record on local disk: `journal/` in the run's folder.

journal/records.jsonl   the journal, written by the training process only
journal/owner.json      which process writes it
journal/spool/          copies of artifacts to be uploaded
journal/shipped.json    the progress of the upload, written by the uploader only
journal/shipper.lock    held by the process that uploads
journal/shipper.log     output of the uploader

The names of these files stay as they are, since folders written by earlier versions have them.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lantu.redaction import HIDDEN, redact
from lantu.tracking.journal import Reader, Record, head, last
from lantu.tracking.owner import Owner
from lantu.tracking.spool import Spool
from lantu.tracking.store import absolute, database_of, embedded_uri

KINDS = {"ended_at": int}
"""Of the fields of `UploadProgress` that can be null, those that are no texts."""


@dataclass
class UploadProgress:
    """The progress of an upload. Without its file the run is uploaded again, which changes nothing in MLflow."""

    run_id: str | None = None
    experiment_id: str | None = None
    offset: int = 0
    """Bytes of the journal that MLflow has acknowledged."""
    metrics: int = 0
    """Metric values among them."""
    ended: str | None = None
    """The final status in the journal, as far as it was read; None: the run has not ended."""
    ended_at: int | None = None
    status: str | None = None
    """The final status that was sent to MLflow."""
    refused: int = 0
    """Values that MLflow refused for good; each is named in shipper.log."""
    damaged: int = 0
    """Records of the journal whose checksum is wrong; they are left out."""
    trouble: str | None = None
    """Why the last attempt failed; None if it succeeded."""
    failures: int = 0
    """Failed attempts since the last that succeeded."""


class RunFolder:
    """A run's record on disk, used to write, upload and list it."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.path = run_dir / "journal"
        self.records = self.path / "records.jsonl"
        self.spool = Spool(self.path / "spool")
        self.log = self.path / "shipper.log"

    @property
    def owner(self) -> Owner:
        """The process that writes the journal."""
        return Owner(self.path / "owner.json")

    def head(self) -> Record | None:
        """The first record of the journal: experiment, name, destination; None if it is damaged."""
        return head(self.records)

    def upload_progress(self) -> UploadProgress:
        try:
            content = json.loads((self.path / "shipped.json").read_text())
        except (OSError, ValueError, RecursionError):
            return UploadProgress()
        if not isinstance(content, dict):
            return UploadProgress()
        known = {field.name: type(field.default) for field in fields(UploadProgress)}
        # counts are integers, as is a time unless it is null; other fields are a text or null
        given: dict[str, Any] = {
            name: each
            for name, each in content.items()
            if name in known
            and (type(each) is int if known[name] is int else isinstance(each, KINDS.get(name, str) | None))
        }
        found = UploadProgress(**given)
        if not found.run_id or not 0 <= found.offset <= self._size():  # damaged or of another journal: upload all
            return UploadProgress(trouble=found.trouble, failures=found.failures)
        return found

    def _size(self) -> int:
        try:
            return self.records.stat().st_size
        except OSError:
            return 0

    def keep(self, progress: UploadProgress) -> None:
        """Replace shipped.json atomically."""
        draft = self.path / "shipped.json.draft"
        draft.write_text(json.dumps(asdict(progress)))
        os.replace(draft, self.path / "shipped.json")

    def destination(self, store: Path, known: Iterable[str] = ()) -> str | None:
        """The tracking URI that the run was meant for.

        The journal keeps it without its password, which has to come from one of the `known` URIs.

        Args:
            store: the store that the run lies in now, for a run of the embedded store.

        Returns:
            None when the first record is damaged, or no known URI has the missing password.
        """
        begin = self.head()
        if begin is None:
            return None
        uri: str | None = begin["tracking_uri"]
        if uri is None:
            return embedded_uri(store)
        same = [each for each in known if redact(absolute(each)) == uri]
        return absolute(same[0]) if same else None if HIDDEN in uri else uri

    def state(self) -> str:
        """The state of the run: `running`, `dead` (without a final status), `waits` (to be uploaded) or `uploaded`."""
        if self.is_uploaded():
            return "uploaded"
        final = last(self.records)
        if final is not None and final["kind"] == "end":
            return "waits"
        if self.owner.is_alive():
            return "running"
        return "waits" if self.upload_progress().status else "dead"

    def points_waiting(self) -> int:
        """Metric values that MLflow does not have yet."""
        unread = Reader(self.records, self.upload_progress().offset)
        return sum(len(record["values"]) for _, record in unread if record["kind"] == "metrics")

    def waiting(self) -> int:
        """Bytes of journal and artifacts that MLflow does not have yet."""
        return max(0, self._size() - self.upload_progress().offset) + self.spool.size()

    def is_uploaded(self) -> bool:
        """Whether MLflow has everything, the final status included."""
        return self.upload_progress().status is not None and not self.waiting()

    @contextmanager
    def uploading(self, *, patience: float = 0.0) -> Iterator[bool]:
        """Hold the lock under which this run is uploaded; False if another process holds it for `patience` seconds."""
        deadline = time.monotonic() + patience
        with open(self.path / "shipper.lock", "w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        yield False
                        return
                    time.sleep(0.05)
            yield True


def run_folders(store: Path) -> list[RunFolder]:
    """Every run with a journal under a store, oldest first."""
    found = [path.parent.parent for path in (store / "runs").rglob("journal/records.jsonl")]
    return [RunFolder(run_dir) for run_dir in sorted(found)]


def lost_database(store: Path) -> str | None:
    """A sentence where the embedded database is gone to which runs of a store were uploaded; None: it is not."""
    uri = embedded_uri(store)
    database = database_of(uri)
    if database is None or database.exists():
        return None
    folders = [each for each in run_folders(store) if each.upload_progress().run_id]
    count = sum(each.destination(store) == uri for each in folders)
    if not count:
        return None
    runs = "1 run was" if count == 1 else f"{count:,} runs were"
    return (
        f"{database} is gone, and {runs} uploaded to it. `lantu sync --rebuild` makes it again from the runs' "
        "journals; until then only new runs are in it."
    )


def store_of(run_dir: Path) -> Path:
    """The store of a run's folder: the parent of the nearest folder named `runs`, or the folder itself."""
    for folder in run_dir.parents:
        if folder.name == "runs":
            return folder.parent
    return run_dir
