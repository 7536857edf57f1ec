"""What `lantu runs` lists of each run on local disk: its id, best score, date, cost, and whether MLflow has it."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lantu.tracking.journal import decode
from lantu.tracking.run_folder import RunFolder

TAIL = 1 << 18
"""Bytes at the end of a journal in which a run's last figures are looked for."""
_MONITOR = re.compile(r"^  checkpoint:\n(?:    .*\n)*?    monitor: (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class ListedRun:
    """One run on local disk."""

    name: str
    folder: str
    """Under runs/ of the store."""
    state: str
    """running, dead, waits, uploaded or damaged."""
    id: str | None = None
    """In MLflow; None until it is there."""
    status: str | None = None
    """In MLflow, such as FINISHED."""
    began: str | None = None
    """UTC, ISO 8601."""
    metric: str | None = None
    """By which the run kept its best checkpoint."""
    score: float | None = None
    """Its best value, or its newest where the run has not ended."""
    usd: float | None = None
    points_pending: int = 0
    artifacts_pending: int = 0
    bytes_pending: int = 0
    trouble: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def listed(folder: RunFolder, name: str) -> ListedRun:
    """What is known of a run; one whose record is damaged is listed as that.

    Args:
        folder: of the run.
        name: of the folder, under runs/ of the store.
    """
    try:
        begin, state, progress = folder.head() or {}, folder.state(), folder.upload_progress()
        metric, values = monitor(folder.run_dir), last_values(folder.records)
    except Exception as error:  # one run's damaged record must not hide the others
        return ListedRun("?", name, "damaged", trouble=str(error))
    began = datetime.fromtimestamp(begin["t"] / 1000, UTC).isoformat(timespec="seconds") if "t" in begin else None
    score = values.get(f"{metric}_best", values.get(metric or ""))
    pending = {}
    if state != "uploaded":
        pending = {
            "points_pending": folder.points_waiting(), "artifacts_pending": sum(1 for _ in folder.spool.tickets()),
            "bytes_pending": folder.waiting(),
        }  # fmt: skip
    return ListedRun(
        str(begin.get("name", "?")), name, state, id=progress.run_id, status=progress.status, began=began,
        metric=metric if score is not None else None, score=score, usd=values.get("cost/usd"),
        trouble=progress.trouble or "", **pending,
    )  # fmt: skip


def monitor(run_dir: Path) -> str | None:
    """The metric by which a run keeps its best checkpoint; read without a YAML parser, which takes 5 ms a run."""
    try:
        found = _MONITOR.search((run_dir / "config.yaml").read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[1] if found and found[1] != "null" else None


def last_values(records: Path) -> dict[str, float]:
    """The newest value of each metric in the last part of a journal."""
    values: dict[str, float] = {}
    for record in _tail(records):
        if record.get("kind") == "metrics":
            values |= {name: float(value) for name, value in record["values"].items()}
    return values


def _tail(records: Path) -> Iterator[dict[str, Any]]:
    with records.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - TAIL, 0))
        if size > TAIL:
            file.readline()  # the rest of a line
        for line in file:
            if (record := decode(line)) is not None:
                yield record


def as_json(rows: list[dict[str, Any]]) -> str:
    """A listing as one JSON array; numbers that JSON lacks are null."""
    return json.dumps([_finite(each) for each in rows], indent=1, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
