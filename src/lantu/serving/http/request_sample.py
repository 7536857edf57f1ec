"""Store a share of the requests for `lantu monitor`, limited to values of the kinds that training had."""

import random
import re
import threading
import time
from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lantu.data.table.column import Column
from lantu.data.values import is_boolean, is_missing, number
from lantu.errors import UserError

OTHER = "(other)"
"""Replaces a category that training did not have: it could be anything, such as a name in the wrong field."""
REDACTED = "lantu.redacted"
"""The attribute of a file that lists the columns whose values were not stored."""
AT_ONCE = 500
"""The most rows of a file."""
SECONDS = 60
"""Time after which fewer rows are written."""
_DATE = re.compile(r"[\d.:/+ TZ-]{4,40}")


class RequestSample:
    """A sample of the rows of requests, in Parquet files of a folder.

    Values are stored as text, and only those of the kind that the column had in training: numbers, known categories,
    booleans, dates of digits. Columns of text, and those in `redact`, are left empty.

    Args:
        folder: created if it does not exist.
        columns: of the training table.
        share: of the rows that are stored, above 0 and at most 1.
        redact: columns that are left empty.
        most_rows: rows in all files of the folder at which sampling ends.

    Raises:
        UserError: an option is out of its range, or the folder cannot be created.
    """

    def __init__(
        self, folder: Path, columns: list[Column], *, share: float, redact: Iterable[str] = (), most_rows: int = 100_000
    ) -> None:
        names = [each.name for each in columns]
        if unknown := [each for each in redact if each not in names]:
            raise UserError(f"`redact`: the training table has no column {unknown[0]}; it has {', '.join(names)}.")
        if not 0 < share <= 1:
            raise UserError(f"`sample={share}`: a share of the rows, from 0 (none) to 1 (all).")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"`sample_folder={folder}` cannot be made: {error.strerror}.") from error
        self.folder = folder
        self.share = share
        self._redact = frozenset(redact)
        self._take(columns)
        self._rows_left = most_rows - _rows_in(folder)
        self._random = random.Random()
        self._rows: list[dict[str, str | None]] = []
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._files = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store a share of a request's rows."""
        chosen = [row for row in rows if self._random.random() < self.share][: max(self._rows_left, 0)]
        if not chosen and not self._rows:
            return
        with self._lock:
            if not self.columns:
                return
            self._rows_left -= len(chosen)
            self._rows += [self._storable(row) for row in chosen]
            if len(self._rows) < AT_ONCE and time.monotonic() - self._since < SECONDS:
                return
            rows_now, self._rows = self._rows, []
            self._since = time.monotonic()
            columns, redacted = self.columns, self.redacted
        threading.Thread(target=self._write, args=(rows_now, columns, redacted)).start()

    def use(self, columns: list[Column]) -> None:
        """Store the columns of another model from now on, as after a promotion; earlier rows go to a file of their own.

        Columns of text are left empty, as before; a name in `redact` that the new model does not have redacts nothing.
        """
        with self._lock:
            rows, before, redacted = self._rows, self.columns, self.redacted
            self._rows = []
            self._take(columns)
        threading.Thread(target=self._write, args=(rows, before, redacted)).start()

    def _take(self, columns: list[Column]) -> None:
        self.columns = columns
        texts = {each.name for each in columns if each.kind == "text" or each.text}
        self.redacted = sorted(texts | (self._redact & {each.name for each in columns}))

    def close(self) -> None:
        """Write the rows that are still in memory."""
        with self._lock:
            rows, self._rows = self._rows, []
        self._write(rows, self.columns, self.redacted)

    def _storable(self, row: Mapping[str, Any]) -> dict[str, str | None]:
        return {
            each.name: None if each.name in self.redacted else storable_value(each, row.get(each.name))
            for each in self.columns
        }

    def _write(self, rows: list[dict[str, str | None]], columns: list[Column], redacted: list[str]) -> None:
        import pandas as pd

        if not rows:
            return
        frame = pd.DataFrame(rows, columns=[each.name for each in columns], dtype=str)
        frame.attrs[REDACTED] = redacted
        with self._lock:
            self._files += 1
            name = f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{self._files:04d}"
        part = self.folder / f".{name}.part"
        part.touch(mode=0o600)  # the rows are about people
        frame.to_parquet(part, index=False)
        part.replace(self.folder / f"{name}.parquet")


def storable_value(column: Column, value: Any) -> str | None:
    """Return a value as text; None for a missing one, and for one of another kind than the column had in training."""
    if value is None or isinstance(value, list | dict):
        return None
    text = str(value).strip()
    if is_missing(text):
        return None
    if column.kind == "category":
        return text if text in column.categories else OTHER
    if column.kind == "number":
        found = float(value) if isinstance(value, int | float) else number(text, column.decimal, column.unit)
        return text if isfinite(found) else None
    if column.kind == "boolean":
        return text if isinstance(value, bool) or is_boolean([text, *_opposite(text)]) else None
    return text if column.kind == "date" and _DATE.fullmatch(text) else None


def _opposite(text: str) -> list[str]:
    from lantu.data.values import BOOLEANS

    return [other for pair in BOOLEANS if text.lower() in pair for other in pair if other != text.lower()][:1]


def _rows_in(folder: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(each).num_rows for each in folder.glob("*.parquet"))
