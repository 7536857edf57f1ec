"""A run's journal while the run lives: opened at the first record, brought to the disk, shipped, and closed."""

import atexit
import os
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lantu.notices import warn_once
from lantu.redaction import redact
from lantu.tracking import journal
from lantu.tracking.deferred import Arrivals
from lantu.tracking.journal import Journal
from lantu.tracking.owner import HEARTBEAT_SECONDS
from lantu.tracking.run_folder import RunFolder
from lantu.tracking.store import absolute, embedded_uri
from lantu.tracking.uploader import Uploader, sync_in_background

PATIENCE_SECONDS = 10.0  # how long the end of a run waits for a shipper that gets nowhere
LONGEST_PATIENCE_SECONDS = 30.0  # and for one that does


class LiveJournal:
    """Opens itself at the first record, and again in a process that was forked from this one; pickled, it is closed.

    Args:
        folder: the run's.
        begin: what the first record says of the run: experiment, name, run_id and parent.
        store: the folder with mlflow.db.
        tracking_uri: where the run is shipped to; None: the store.
        fsync_seconds: what losing the machine may lose.
        ships: start a process that ships; without one `lantu sync` ships.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        begin: Mapping[str, Any],
        store: Path,
        tracking_uri: str | None,
        fsync_seconds: float,
        ships: bool,
    ) -> None:
        self._folder = folder
        self._begin = dict(begin)
        self._store, self._tracking_uri = store, tracking_uri
        self._fsync_seconds = fsync_seconds
        self._ships = ships
        self.uid: str | None = None
        """Lantu's own name for the run, from its first record on."""
        self.failure: str | None = None
        """How the run ends if nobody says otherwise, once a stage of it has failed."""
        self._ended = False
        self._reset()

    def _reset(self) -> None:
        self._journal: Journal | None = None
        self._arrivals = Arrivals()
        self._opening = threading.RLock()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None
        self._pid = 0
        self.shipper: Uploader | None = None
        """The process that ships, once there is one."""

    @property
    def uri(self) -> str:
        """Where the run is shipped to, with the credentials in it, if any."""
        return absolute(self._tracking_uri) if self._tracking_uri else embedded_uri(self._store)

    def opened(self) -> Journal:
        """The journal itself."""
        there = self._journal
        if there is not None and self._pid == os.getpid():
            return there
        if self._pid not in (0, os.getpid()):
            self._reset()
        with self._opening:
            if self._journal is None:
                self._open()
        assert self._journal is not None
        return self._journal

    def append_when_arrived(self, step: int, values: dict[str, float], tensors: dict[str, Tensor]) -> None:
        """Record metrics of which some are still on a device, without waiting for them."""
        self.opened()
        self._arrivals.start(time.time_ns() // 1_000_000, step, values, tensors)

    def settle(self, *, wait: bool = False) -> None:
        """Write what has arrived from devices, and bring everything to the disk; `wait` for what has not."""
        there = self._journal
        if there is None or self._pid != os.getpid():
            return
        for pending in self._arrivals.take(wait=wait):
            there.append("metrics", step=pending.step, t=pending.t, values=pending.values())
        there.flush()

    def close(self, status: str) -> None:
        """End the run, and give the shipper a bounded time to finish; says so when results have to wait."""
        if self._journal is None or self._ended or os.getpid() != self._pid:
            return
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()  # it may have taken what has arrived, and not written it yet
        self.settle(wait=True)
        self._journal.append("end", status=status)
        self._ended = True
        self._journal.close()
        self._journal = None
        if self._ships:
            self._await_shipper()
        atexit.unregister(self._close_at_exit)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned process opens the journal for itself
        own = ("_journal", "shipper", "_arrivals", "_opening", "_stop", "_keeper")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _open(self) -> None:
        begun = Journal(self._folder.records)
        earlier = self._folder.head()
        self.uid = earlier["run"] if earlier else uuid.uuid4().hex
        self._folder.owner.claim()
        self._pid = os.getpid()
        begun.append(
            "begin",
            format=journal.FORMAT,
            version=journal.VERSION,
            run=self.uid,
            tracking_uri=redact(absolute(self._tracking_uri)) if self._tracking_uri else None,
            **self._begin,
        )
        self._journal, self._ended = begun, False
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, args=(self._stop,), daemon=True)
        self._keeper.start()
        if self._ships:
            self.shipper = Uploader(self._folder, self.uri)
            earlier_runs = (self._store, self._tracking_uri)
            threading.Thread(target=sync_in_background, args=earlier_runs, daemon=True).start()
        atexit.register(self._close_at_exit)  # holds on to the run, which must end even if nobody else does

    def _keep(self, stop: threading.Event) -> None:
        """The background thread: brings the journal to disk, and shows other machines that we live."""
        beaten = time.monotonic()
        while not stop.wait(self._fsync_seconds):
            self.settle()
            if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                self._folder.owner.beat()
                beaten = time.monotonic()

    def _close_at_exit(self) -> None:
        self.close(self.failure or status_of(getattr(sys, "last_value", None)))

    def _await_shipper(self) -> None:
        if self.shipper is None or self.shipper.has_ended():
            self.shipper = Uploader(self._folder, self.uri)
        self.shipper.release()
        failures = self._folder.shipped().failures
        begun = moved = time.monotonic()
        waiting = self._folder.waiting()
        while not self._folder.is_shipped():
            now, shipped = time.monotonic(), self._folder.shipped()
            still = self._folder.waiting()
            if still < waiting:
                waiting, moved = still, now
            gone = self.shipper.has_ended() or shipped.failures > failures
            if gone or now - moved > PATIENCE_SECONDS or now - begun > LONGEST_PATIENCE_SECONDS:
                self._say_waiting(shipped.trouble)
                return
            time.sleep(0.05)

    def _say_waiting(self, trouble: str | None) -> None:
        where = f" --store {self._store}" if self._store != Path("mlruns").absolute() else ""
        why = f" ({trouble})" if trouble else ""
        warn_once(
            f"MLflow does not have all of this run yet{why}. Nothing is lost: "
            f"it waits in {self._folder.path}, and `lantu sync{where}` ships it."
        )


def status_of(error: BaseException | None) -> str:
    """How MLflow calls the end of a run that this exception ended: FINISHED, FAILED or KILLED."""
    if error is None:
        return "FINISHED"
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return "KILLED"
    if type(error) is SystemExit:
        return "FAILED" if error.code else "FINISHED"
    return "KILLED" if isinstance(error, SystemExit) else "FAILED"  # Lightning makes a SystemExit of SIGTERM
