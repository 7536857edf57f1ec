"""Record the sweep's parent run in MLflow and start the one process that uploads it and its trials."""

import json
import math
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from omegaconf import DictConfig

from lantu.redaction import redact
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.sweeps.trial import PARENT
from lantu.tracking import journal
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder
from lantu.tracking.store import absolute, embedded_uri
from lantu.tracking.upload import family
from lantu.tracking.uploader import Uploader, sync_in_background

PATIENCE_SECONDS = 20.0  # how long the end of a sweep waits for an upload that makes no progress


class ParentRun:
    """The sweep's own MLflow run, open while the trials run.

    It writes to the journal directly, so that the process that conducts the sweep need not import Lightning.
    """

    def __init__(self, sweep: SweepFolder, cfg: DictConfig) -> None:
        self._sweep = sweep
        self._run = RunFolder(sweep.path.absolute())
        node = next((each for each in (cfg.get("logger") or {}).values() if each and "ship" in each), None)
        self._kept, self._uploads = node is not None, bool(node and node.ship)
        self._store = Path(str(node.store if node else cfg.paths.store)).absolute()
        uri = node.tracking_uri if node else None
        self._tracking_uri = absolute(uri) if uri else None
        self._uploader: Uploader | None = None
        self._closed = False

    @property
    def redacted_uri(self) -> str | None:
        """The tracking URI without a password, as written to the journal; None for the embedded store."""
        return redact(self._tracking_uri) if self._tracking_uri else None

    @property
    def uri(self) -> str:
        """The tracking URI that the sweep is uploaded to."""
        return self._tracking_uri or embedded_uri(self._store)

    @property
    def run_id(self) -> str | None:
        """The MLflow run id; None until the run has been uploaded."""
        return self._run.upload_progress().run_id

    def __enter__(self) -> "ParentRun":
        if not self._kept:
            return self
        self._journal = Journal(self._run.records)
        head = self._run.head()
        content = self._sweep.content()
        begin = {
            "run": head["run"] if head else uuid.uuid4().hex,
            "experiment": content["experiment"],
            "name": self._sweep.name,
        }
        self._run.owner.claim()
        self._journal.append(
            "begin",
            format=journal.FORMAT,
            version=journal.VERSION,
            tracking_uri=self.redacted_uri,
            run_id=None,
            parent=None,
            **begin,
        )
        started = (self._run.head() or {}).get("t", int(time.time() * 1000))
        (self._sweep.path / PARENT).write_text(json.dumps({**begin, "t": started}))
        tags = {
            "lantu.sweep_name": self._sweep.name,
            "lantu.sweep_id": content["id"],
            "lantu.run_dir": str(self._run.run_dir),
            "lantu.command": redact(" ".join(content["command"])),
        }
        params = {"sweep.varies": ", ".join(content["keys"]), "sweep.kind": content["kind"]}
        self._journal.append("tags", values=tags)
        aims = {f"sweep.{name}": ", ".join(content[f"{name}s"]) for name in ("objective", "direction")}
        self._journal.append("params", values={**params, **aims})
        self._journal.flush()
        if self._uploads:
            self._uploader = Uploader(self._run, self.uri, family=True)
            sync_in_background(self._store, self._tracking_uri)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("FINISHED" if kind is None else "KILLED")

    def close(self, status: str = "FINISHED") -> None:
        """End the run and record the sweep's totals. Further calls do nothing."""
        if not self._kept or self._closed:
            return
        self._closed = True
        if status == "FINISHED":
            self._record_totals()
        self._journal.append("end", status=status)
        self._journal.flush()
        self._journal.close()
        if self._uploader:
            self._uploader.release()

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Record numbers about all trials together."""
        if self._kept and not self._closed:
            self._journal.append("metrics", step=len(list(self._sweep.trials())), values=dict(values))

    def arrived(self) -> bool:
        """Wait until MLflow has the whole sweep, and return whether it has.

        Returns False when the uploader has exited, or after `PATIENCE_SECONDS` without progress.
        """
        if not self._uploads:
            return False
        moved, waiting = time.monotonic(), math.inf
        while left := [each for each in family(self._run.run_dir) if not each.is_uploaded()]:
            now = sum(each.waiting() for each in left)
            if now < waiting:
                moved, waiting = time.monotonic(), now
            if time.monotonic() - moved > PATIENCE_SECONDS or (self._uploader and self._uploader.has_ended()):
                return not [each for each in left if not each.is_uploaded()]
            time.sleep(0.1)
        return True

    def _record_totals(self) -> None:
        """Record the number of trials by status and their total cost."""
        states = [trial.state() for trial in self._sweep.trials()]
        counts: dict[str, float] = {"sweep/trials": float(len(states))}
        for status in ("finished", "pruned", "failed", "skipped"):
            counts[f"sweep/{status}"] = float(sum(state.status == status for state in states))
        self._journal.append("metrics", step=len(states), values={**counts, **_total_cost(states)})


def _total_cost(states: list[Any]) -> Mapping[str, float]:
    total: dict[str, float] = {}
    for state in states:
        for name in ("cost/usd", "cost/kwh", "cost/co2e_kg", "cost/device_hours"):
            if name in state.values:
                total[name] = total.get(name, 0.0) + state.values[name]
    return total
