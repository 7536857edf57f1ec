"""Pictures whose labels stand in a table: a row for each, with its file and its target."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.data.files import visible_files
from lantu.data.image.image_folder import IMAGE_ENDINGS
from lantu.data.sources import PARTS, Raw, table_file
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

FILE_COLUMNS = ("image", "file", "file_name", "filename", "path", "image_path", "filepath", "image_id", "id")
"""What a column of files is called by those who do not name it."""


def image_table(path: str, *, folder: str | None = None, file: str | None = None, part: str | None = None) -> Raw:
    """A table with a file for each row; its column of files becomes `image`.

    Args:
        path: CSV, TSV, Parquet or JSON lines, by the ending.
        folder: where the files are; None: where the table is. Files are also found in folders below it, and without
            their ending.
        file: the column with the files; None: one called image, file, file_name, ...
        part: a column that says train, validation or test; None: all rows are divided by `data.split`.

    Raises:
        UserError: no such column or folder, or no file of the table is there.
    """
    raw = table_file(path, as_text=True)
    place = Path(folder).expanduser() if folder else Path(path).expanduser().parent
    if not place.is_dir():
        raise UserError(f"`data.source.folder={folder}`: there is no such folder.")
    rows = raw.rows
    column = file_column(rows, file)
    rows = rows.assign(image=located(rows[column], place)).drop(columns=[column] if column != "image" else [])
    split = raw.split if part is None else parts_of(rows, part)
    return replace(raw, rows=rows, split=split, source={**raw.source, "folder": str(place.resolve())})


def parts_of(rows: pd.DataFrame, part: str) -> np.ndarray:
    """train, val or test of each row (N,), by a column that says so.

    Raises:
        UserError: there is no such column, or it names another part.
    """
    if part not in rows:
        raise UserError(f"`data.source.part={part}`: the table has no such column.{did_you_mean(part, list(rows))}")
    named = rows[part].astype(str).str.strip().str.lower()
    if strange := sorted(set(named) - set(PARTS)):
        raise UserError(f"`data.source.part={part}`: {strange[0]!r} is none of {', '.join(PARTS)}.")
    return named.map(PARTS).to_numpy(dtype="<U5")


def file_column(rows: pd.DataFrame, asked: str | None) -> str:
    """The column with the files.

    Raises:
        UserError: there is none.
    """
    if asked is not None:
        if asked not in rows:
            raise UserError(
                f"`data.source.file={asked}`: the table has no such column.{did_you_mean(asked, list(rows))}"
            )
        return asked
    lower = {str(name).lower(): name for name in reversed(list(rows))}
    for name in FILE_COLUMNS:
        if name in lower:
            return str(lower[name])
    raise UserError(
        f"The table has no column called {', '.join(FILE_COLUMNS[:5])}: type `data.source.file=COLUMN` for that with "
        f"the files. There are: {', '.join(map(str, rows))}."
    )


def located(names: pd.Series, folder: Path) -> pd.Series:
    """The path of each file (N,): as written, in the folder, below it, or with an ending added.

    Raises:
        UserError: none of the files is there.
    """
    below: dict[str, Path] = {}
    ambiguous: set[str] = set()
    for path in visible_files(folder):
        for name in {path.name, path.stem} if path.suffix.lower() in IMAGE_ENDINGS else {path.name}:
            ambiguous.update({name} if name in below else ())
            below[name] = path
    found = []
    for name in names:
        text = "" if pd.isna(name) else str(name).strip()
        path = folder / text  # an absolute path stays itself
        if text and not path.is_file() and text not in ambiguous:
            path = below.get(text, below.get(Path(text).name, path))
        found.append(str(path))
    there = np.array([Path(path).is_file() for path in found])
    if len(there) and not there.any():
        raise UserError(f"None of the {len(found):,} files of the table is in {folder}, such as {names.iloc[0]}.")
    return pd.Series(found, index=names.index, dtype=object)
