"""Tables whose columns name files: find the files, and the split that a row belongs to."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.data.files import IMAGE_ENDINGS, visible_files
from lantu.data.sources import PARTS, Raw, table_file
from lantu.errors import UserError
from lantu.suggestions import did_you_mean


def read_file_table(path: str, folder: str | None) -> tuple[Raw, Path]:
    """Return a table, and the folder of the files that it names.

    Args:
        path: CSV, TSV, Parquet or JSON lines, by the ending.
        folder: where the files are; None: where the table is.

    Raises:
        UserError: the table cannot be read, or there is no such folder.
    """
    raw = table_file(path, as_text=True)
    place = Path(folder).expanduser() if folder else Path(path).expanduser().parent
    if not place.is_dir():
        raise UserError(f"`data.source.folder={folder}`: there is no such folder.")
    return raw, place


def with_rows(raw: Raw, rows: pd.DataFrame, folder: Path, part: str | None) -> Raw:
    """Return the table with other rows, of which each knows its files.

    Args:
        part: a column that says train, validation or test; None: the split is that of `raw`.

    Raises:
        UserError: there is no such column, or it names another part.
    """
    split = raw.split if part is None else _splits_of(rows, part)
    return replace(raw, rows=rows, split=split, source={**raw.source, "folder": str(folder.resolve())})


def find_files(names: pd.Series, folder: Path) -> pd.Series:
    """Return the path of each file (N,): as written, in the folder, below it, or with an ending added.

    Raises:
        UserError: none of the files exists.
    """
    below: dict[str, Path] = {}
    ambiguous: set[str] = set()
    for path in visible_files(folder):
        for name in {path.name, path.stem} if path.suffix.lower() in IMAGE_ENDINGS else {path.name}:
            ambiguous.update({name} if name in below else ())
            below[name] = path
    texts = ["" if pd.isna(name) else str(name).strip() for name in names]
    # a/1.jpg is 1.jpg in any other folder only while no b/1.jpg could be meant by that as well
    called = Counter(Path(text).name for text in set(texts))
    ambiguous.update(name for name, count in called.items() if count > 1)
    found = []
    for text in texts:
        path = folder / text  # an absolute path stays itself
        if text and not os.path.isfile(path):  # also of names that no file can have
            name = text if text in below else Path(text).name
            path = path if name in ambiguous else below.get(name, path)
        found.append(str(path))
    there = np.array([os.path.isfile(path) for path in found])
    if len(there) and not there.any():
        raise UserError(f"None of the {len(found):,} files of the table is in {folder}, such as {names.iloc[0]}.")
    return pd.Series(found, index=names.index, dtype=object)


def _splits_of(rows: pd.DataFrame, part: str) -> np.ndarray:
    """train, val or test of each row (N,)."""
    if part not in rows:
        raise UserError(f"`data.source.part={part}`: the table has no such column.{did_you_mean(part, list(rows))}")
    named = rows[part].astype(str).str.strip().str.lower()
    if unknown := sorted(set(named) - set(PARTS)):
        raise UserError(f"`data.source.part={part}`: {unknown[0]!r} is none of {', '.join(PARTS)}.")
    return named.map(PARTS).to_numpy(dtype="<U5")
