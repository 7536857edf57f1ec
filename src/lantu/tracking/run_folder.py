"""Where a run's record lies on local disk: `journal/` in the run's folder.

journal/records.jsonl   the journal, written by the training process only
journal/owner.json      which process writes it
journal/spool/          copies of artifacts that wait to be uploaded
journal/shipped.json    how far shipping has come, written by the shipper only
journal/shipper.lock    held while a process ships
journal/shipper.log     what the shipper had to say
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
from lantu.tracking.store import absolute, embedded_uri


@dataclass
class Shipped:
    """How far shipping has come; losing this file costs time and nothing else, for sending twice is the same
    as once."""

    run_id: str | None = None
    experiment_id: str | None = None
    offset: int = 0
    """Bytes of the journal that MLflow has acknowledged."""
    metrics: int = 0
    """Metric values among them."""
    ended: str | None = None
    """The status that the journal says, as far as it was read: None while it goes on."""
    ended_at: int | None = None
    status: str | None = None
    """The final status that MLflow was told."""
    refused: int = 0
    """Values that MLflow will never take; each is named in shipper.log."""
    damaged: int = 0
    """Records of the journal whose checksum is wrong; they are left out."""
    trouble: str | None = None
    """Why the last attempt failed; None when it did not."""
    failures: int = 0
    """Attempts that failed since the last one that did not."""


class RunFolder:
    """A run's record on disk, for whoever writes, ships or lists it."""

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
        """The record that the journal begins with: experiment, name, destination; None when it was cut
        itself."""
        return head(self.records)

    def shipped(self) -> Shipped:
        try:
            content = json.loads((self.path / "shipped.json").read_text())
        except (OSError, ValueError):
            return Shipped()
        if not isinstance(content, dict):
            return Shipped()
        known = {field.name: type(field.default) for field in fields(Shipped)}
        # what counts is a whole number, what says something is a text or null
        given: dict[str, Any] = {
            name: each
            for name, each in content.items()
            if name in known and (type(each) is int if known[name] is int else isinstance(each, str | int | None))
        }
        found = Shipped(**given)
        if not found.run_id or not 0 <= found.offset <= self._size():  # damaged, or of a longer journal: send all again
            return Shipped(trouble=found.trouble, failures=found.failures)
        return found

    def _size(self) -> int:
        try:
            return self.records.stat().st_size
        except OSError:
            return 0

    def keep(self, shipped: Shipped) -> None:
        """Replace shipped.json in one step, so that a reader or a crash never sees half of it."""
        draft = self.path / "shipped.json.draft"
        draft.write_text(json.dumps(asdict(shipped)))
        os.replace(draft, self.path / "shipped.json")

    def destination(self, store: Path, known: Iterable[str] = ()) -> str | None:
        """The tracking URI that the run was meant for.

        The journal keeps it without its password, which has to come from one of the `known` URIs.

        Args:
            store: the store that the run lies in now, for a run of the embedded store.

        Returns:
            None when the journal has no whole beginning, or no known URI has the missing password.
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
        """How it stands with the run: `running`, `dead` (without having said how it ended), `waits` or `shipped`."""
        if self.is_shipped():
            return "shipped"
        final = last(self.records)
        if final is not None and final["kind"] == "end":
            return "waits"
        if self.owner.is_alive():
            return "running"
        return "waits" if self.shipped().status else "dead"

    def points_waiting(self) -> int:
        """Metric values that MLflow does not have yet."""
        unread = Reader(self.records, self.shipped().offset)
        return sum(len(record["values"]) for _, record in unread if record["kind"] == "metrics")

    def waiting(self) -> int:
        """Bytes of journal and artifacts that MLflow does not have yet."""
        return max(0, self._size() - self.shipped().offset) + self.spool.size()

    def is_shipped(self) -> bool:
        """Whether MLflow has everything, the final status included."""
        return self.shipped().status is not None and not self.waiting()

    @contextmanager
    def shipping(self, *, patience: float = 0.0) -> Iterator[bool]:
        """Be the one process that ships this run; False when another is, for `patience` seconds."""
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


def store_of(run_dir: Path) -> Path:
    """The store that a run's folder lies in: the parent of the nearest folder named `runs`, or the folder
    itself."""
    for folder in run_dir.parents:
        if folder.name == "runs":
            return folder.parent
    return run_dir
