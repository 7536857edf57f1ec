"""Split what a journal records into columns of MLflow and what is kept beside them."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lantu.tracking.columns import MetricColumns
from lantu.tracking.further import METRICS, PARAMS, from_tags, to_tags
from lantu.tracking.journal import Reader, Record
from lantu.tracking.names import to_mlflow

FIRST_BYTES = 2**18
"""Of a journal, in which the record of its columns stands."""
BEST = "_best"


class ColumnSplit:
    """Of a run that says which parameters are columns. All that other runs record is a column.

    Args:
        path: the journal.
        offset: bytes of it that have been uploaded.
        tags: the run's tags in MLflow.
        metrics: the metrics that the run has in MLflow.
    """

    def __init__(self, path: Path, offset: int, tags: Mapping[str, str], metrics: Mapping[str, Any]) -> None:
        self._path = path
        self._known_metrics = metrics
        self._params: frozenset[str] | None = None
        self._metrics: MetricColumns | None = None
        self.further_params: dict[str, str] = from_tags(tags, PARAMS)
        self._further_metrics: dict[str, list[float]] = from_tags(tags, METRICS)
        self._changed: set[str] = set()
        if offset:
            self._read_earlier(min(offset, FIRST_BYTES))

    def _read_earlier(self, end: int) -> None:
        for offset, record in Reader(self._path):
            if record["kind"] == "columns":
                self.begin(record)
            if offset >= end:
                return

    def begin(self, record: Record) -> None:
        """Take the journal's record of its columns."""
        self._params = (self._params or frozenset()) | frozenset(record["params"])
        if self._metrics is None:
            self._metrics = MetricColumns(record["monitor"], self._known_metrics)

    def is_column(self, name: str) -> bool:
        """Whether a parameter is a column."""
        return self._params is None or name in self._params

    def keep_param(self, key: str, value: str) -> None:
        """Keep a parameter beside the columns."""
        self.further_params[key] = value
        self._changed.add(PARAMS)

    def metric_columns(self, record: Record) -> dict[str, Any]:
        """Those of a record's metrics that are columns; the last, lowest and highest value of the others are kept."""
        values: dict[str, Any] = record["values"]
        if self._metrics is None:
            return values
        shown = self._metrics.admit(values)
        for name in values.keys() - shown:
            self._keep_metric(to_mlflow(name), float(values[name]), record.get("step", 0))
        return {name: values[name] for name in values if name in shown}

    def _keep_metric(self, key: str, value: float, step: int) -> None:
        _, _, low, high = self._further_metrics.get(key, [value, step, value, value])
        low, high = (value, value) if math.isnan(low) else (low, high)
        self._further_metrics[key] = [value, step, min(low, value), max(high, value)]
        self._changed.add(METRICS)

    def tags(self) -> dict[str, str]:
        """What has changed since the last call, as tags."""
        changed, self._changed = self._changed, set()
        found: dict[str, str] = {}
        if PARAMS in changed:
            found |= to_tags(PARAMS, self.further_params)
        if METRICS in changed:
            found |= to_tags(METRICS, self._further_metrics)
        return found

    def write_points(self, path: Path) -> bool:
        """Write all points of the metrics that are no columns as CSV: name, step, time in ms, value."""
        if not self._further_metrics:
            return False
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["metric", "step", "time", "value"])
            for _, record in Reader(self._path):
                if record["kind"] == "metrics":
                    for name, value in record["values"].items():
                        if to_mlflow(name) in self._further_metrics:
                            writer.writerow([to_mlflow(name), record.get("step", 0), record["t"], value])
        return True

    def best_values(self) -> dict[str, tuple[int, float]]:
        """By validation metric that is a column: its last step, and its value at the best epoch where another is last.

        MLflow shows and sorts by the last value of a metric; the model that is kept is the best epoch's.
        """
        if self._metrics is None:
            return {}
        last: dict[str, tuple[int, float]] = {}
        best: dict[str, float] = {}
        for _, record in Reader(self._path):
            if record["kind"] == "metrics":
                for name, value in record["values"].items():
                    if name.startswith("val/") and name.endswith(BEST):
                        best[name.removesuffix(BEST)] = float(value)
                    elif name.startswith("val/"):
                        last[name] = (record.get("step", 0), float(value))
        shown = self._metrics.admit(last)
        return {
            name: (step, best[name])
            for name, (step, value) in last.items()
            if name in shown and name in best and not math.isnan(value) and value != best[name]
        }
