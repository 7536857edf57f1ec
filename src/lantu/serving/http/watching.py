"""Monitor a server: Prometheus metrics, and a log line for each request without its content."""

import json
import sys
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Watch:
    """Metrics and log of one server.

    Args:
        log: whether each request is one JSON line on standard error.
    """

    def __init__(self, *, log: bool) -> None:
        self.log = log
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("lantu_requests", "Requests answered", ["path", "status"], **made)
        self.seconds = Histogram("lantu_request_seconds", "From request to answer", ["path"], buckets=SECONDS, **made)
        self.rows = Counter("lantu_rows", "Inputs answered", **made)
        self.batch_rows = Histogram("lantu_batch_rows", "Inputs answered together", buckets=ROWS, **made)
        self.batch_seconds = Histogram("lantu_batch_seconds", "Preparation and network", buckets=SECONDS, **made)
        self.waiting = Gauge("lantu_waiting", "Requests that wait", **made)
        self.model = Gauge("lantu_model_info", "The model that answers", ["name", "version"], **made)
        self._known: dict[tuple[str, int], tuple[Any, Any]] = {}
        self.reloads = Counter("lantu_reloads", "Models loaded while serving", ["result"], **made)

    def batch(self, rows: int, seconds: float) -> None:
        """Note one batch of the model."""
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def serving(self, name: str, version: str) -> None:
        """Note which model answers from now on."""
        self.model.clear()
        self.model.labels(name, version).set(1)

    def request(self, *, path: str, status: int, seconds: float, rows: int, version: str, request_id: str) -> None:
        """Note one request; neither inputs nor answers nor addresses are kept."""
        counted, timed = self._labelled(path, status)
        counted.inc()
        timed.observe(seconds)
        self.rows.inc(rows)
        if self.log:
            self.say(
                "request",
                path=path,
                status=status,
                ms=round(seconds * 1000, 3),
                rows=rows,
                model=version,
                id=request_id,
            )

    def _labelled(self, path: str, status: int) -> tuple[Any, Any]:
        """The metrics of a path and status; looking them up by their labels takes longer than to count."""
        found = self._known.get((path, status))
        if found is None:
            found = self._known[path, status] = (self.requests.labels(path, str(status)), self.seconds.labels(path))
        return found

    def say(self, event: str, **fields: Any) -> None:
        """Write one JSON line on standard error."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        print(json.dumps({"time": f"{moment}Z", "event": event, **fields}), file=sys.stderr, flush=True)

    def exposition(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)
