"""The journal of a running run: opened at the first record, synced to disk, uploaded and closed."""

import atexit
import os
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantu.notices import warn_once
from lantu.redaction import redact
from lantu.tracking import journal
from lantu.tracking.deferred import Arrivals
from lantu.tracking.journal import Journal
from lantu.tracking.owner import HEARTBEAT_SECONDS
from lantu.tracking.run_folder import RunFolder
from lantu.tracking.store import absolute, embedded_uri
from lantu.tracking.uploader import Uploader, sync_in_background

if TYPE_CHECKING:
    from torch import Tensor

PATIENCE_SECONDS = 10.0  # how long the end of a run waits for an upload without progress
LONGEST_PATIENCE_SECONDS = 30.0  # and for one with progress


class LiveJournal:
    """Opens at the first record, and again in a forked process; a pickled copy is closed.

    Args:
        folder: the run's record on disk.
        begin: fields of the first record: experiment, name, run_id and parent.
        store: the folder with mlflow.db.
        tracking_uri: where the run is uploaded to; None: the store.
        fsync_seconds: the interval between syncs to disk; a machine that fails loses at most this much.
        uploads: start an uploader process; without one `lantu sync` uploads the run.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        begin: Mapping[str, Any],
        store: Path,
        tracking_uri: str | None,
        fsync_seconds: float,
        uploads: bool,
    ) -> None:
        self._folder = folder
        self._begin = dict(begin)
        self._store, self._tracking_uri = store, tracking_uri
        self._fsync_seconds = fsync_seconds
        self._uploads = uploads
        self.uid: str | None = None
        """Lantu's own id of the run, set at the first record."""
        self.failure: str | None = None
        """The status with which `close` ends the run by default, once a stage has failed."""
        self._ended = False
        self._reset()

    def _reset(self) -> None:
        self._journal: Journal | None = None
        self._arrivals = Arrivals()
        self._opening = threading.RLock()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None
        self._pid = 0
        self.uploader: Uploader | None = None
        """The uploader process; None before the first record."""

    @property
    def uri(self) -> str:
        """Where the run is uploaded to, with the credentials in it, if any."""
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

    def append_when_arrived(self, step: int, values: dict[str, float], tensors: dict[str, "Tensor"]) -> None:
        """Record metrics, some of them still on a device, without waiting for the copy."""
        self.opened()
        self._arrivals.start(time.time_ns() // 1_000_000, step, values, tensors)

    def settle(self, *, wait: bool = False) -> None:
        """Write the values that have arrived from devices and sync to disk; `wait` for the others, too."""
        there = self._journal
        if there is None or self._pid != os.getpid():
            return
        for pending in self._arrivals.take(wait=wait):
            there.append("metrics", step=pending.step, t=pending.t, values=pending.values())
        there.flush()

    def close(self, status: str) -> None:
        """End the run and wait a bounded time for the upload; warn if it is not complete by then."""
        if self._journal is None or self._ended or os.getpid() != self._pid:
            return
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()  # it may have taken values and not written them yet
        self.settle(wait=True)
        self._journal.append("end", status=status)
        self._ended = True
        self._journal.close()
        self._journal = None
        if self._uploads:
            self._await_uploader()
        atexit.unregister(self._close_at_exit)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned process opens the journal itself
        own = ("_journal", "uploader", "_arrivals", "_opening", "_stop", "_keeper")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _open(self) -> None:
        new_journal = Journal(self._folder.records)
        earlier = self._folder.head()
        self.uid = earlier["run"] if earlier else uuid.uuid4().hex
        self._folder.owner.claim()
        self._pid = os.getpid()
        new_journal.append(
            "begin",
            format=journal.FORMAT,
            version=journal.VERSION,
            run=self.uid,
            tracking_uri=redact(absolute(self._tracking_uri)) if self._tracking_uri else None,
            **self._begin,
        )
        self._journal, self._ended = new_journal, False
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, args=(self._stop,), daemon=True)
        self._keeper.start()
        if self._uploads:
            self.uploader = Uploader(self._folder, self.uri)
            earlier_runs = (self._store, self._tracking_uri)
            threading.Thread(target=sync_in_background, args=earlier_runs, daemon=True).start()
        atexit.register(self._close_at_exit)  # keeps the run referenced, so that it is ended at exit

    def _keep(self, stop: threading.Event) -> None:
        """The background thread: sync the journal to disk and renew the owner's heartbeat."""
        beaten = time.monotonic()
        while not stop.wait(self._fsync_seconds):
            self.settle()
            if time.monotonic() - beaten > HEARTBEAT_SECONDS:
                self._folder.owner.beat()
                beaten = time.monotonic()

    def _close_at_exit(self) -> None:
        self.close(self.failure or status_of(getattr(sys, "last_value", None)))

    def _await_uploader(self) -> None:
        """Wait a bounded time for the upload; an uploader that was killed is replaced once."""
        if self.uploader is None:
            self.uploader = Uploader(self._folder, self.uri)
        self.uploader.release()
        failures = self._folder.upload_progress().failures
        started = moved = time.monotonic()
        waiting = self._folder.waiting()
        is_replaced = False
        while not self._folder.is_uploaded():
            now, progress = time.monotonic(), self._folder.upload_progress()
            still = self._folder.waiting()
            if still < waiting:
                waiting, moved = still, now
            has_failed, has_ended = progress.failures > failures, self.uploader.has_ended()
            if has_ended and not has_failed and not is_replaced:
                self.uploader = Uploader(self._folder, self.uri)
                self.uploader.release()
                is_replaced = True
            elif has_failed or has_ended or now - moved > PATIENCE_SECONDS or now - started > LONGEST_PATIENCE_SECONDS:
                self._warn_pending(progress.trouble)
                return
            time.sleep(0.05)

    def _warn_pending(self, trouble: str | None) -> None:
        where = f" --store {self._store}" if self._store != Path("mlruns").absolute() else ""
        why = f" ({trouble})" if trouble else ""
        warn_once(
            f"MLflow does not have all of this run yet{why}. Nothing is lost: "
            f"it waits in {self._folder.path}, and `lantu sync{where}` uploads it."
        )


def status_of(error: BaseException | None) -> str:
    """MLflow's status for a run that ended with this exception: FINISHED, FAILED or KILLED."""
    if error is None:
        return "FINISHED"
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return "KILLED"
    if type(error) is SystemExit:
        return "FAILED" if error.code else "FINISHED"
    return "KILLED" if isinstance(error, SystemExit) else "FAILED"  # Lightning makes a SystemExit of SIGTERM
