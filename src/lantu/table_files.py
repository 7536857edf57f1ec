"""Write a table in the format that a file's ending names."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lantu.whole_files import whole_file

if TYPE_CHECKING:
    import pandas as pd

_WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, force_ascii=False),
}
ENDINGS = tuple(_WRITERS)
"""The file endings that `write_table` knows."""


def write_table(frame: "pd.DataFrame", path: Path) -> None:
    """Write a data frame; the ending of the path is one of `ENDINGS`. A full disk leaves no part of it."""
    with whole_file(path) as place:
        _WRITERS[path.suffix](frame, place)
