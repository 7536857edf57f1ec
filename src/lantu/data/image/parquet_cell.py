"""A picture in a Parquet file, read when it is needed with the row group that it lies in."""

import os
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

KEPT = 20
"""Row groups that a process keeps: those that training mixes at a time (`samplers.BLOCKS_MIXED`), and the next."""


class ParquetCell(NamedTuple):
    """Where a picture lies: rows are counted within their row group."""

    path: str
    column: str
    group: int
    row: int

    def read(self) -> dict[str, Any]:
        """The picture in the hub's layout, {"bytes", "path"}; a path is relative to the Parquet file's folder."""
        with _LOCK:  # threads that need one row group read it once
            rows = _row_group(self.path, self.column, self.group)
        value = rows[self.row].as_py()
        if not isinstance(value, dict):
            return {"bytes": value, "path": None}
        if value.get("bytes") is None and value.get("path") is not None:
            return {"bytes": None, "path": os.path.join(os.path.dirname(self.path), value["path"])}
        return value


_LOCK = Lock()


@lru_cache(maxsize=KEPT)
def _row_group(path: str, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)
