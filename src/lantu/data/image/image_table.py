"""Pictures whose labels are in a table: a row for each, with its file and its target."""

import pandas as pd

from lantu.data.file_table import find_files, read_file_table, with_rows
from lantu.data.sources import Raw
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

FILE_COLUMNS = ("image", "file", "file_name", "filename", "path", "image_path", "filepath", "image_id", "id")
"""Usual names of a column of files."""


def image_table(path: str, *, folder: str | None = None, file: str | None = None, part: str | None = None) -> Raw:
    """A table with a file for each row; its column of files becomes `image`.

    Args:
        path: CSV, TSV, Parquet or JSON lines, by the ending.
        folder: where the files are; None: where the table is. Files are also found in folders below it, and without
            their ending.
        file: the column with the files; None: one called image, file, file_name, ...
        part: a column that says train, validation or test; None: all rows are divided by `data.split`.

    Raises:
        UserError: there is no such column or folder, or none of the files exists.
    """
    raw, place = read_file_table(path, folder)
    column = file_column(raw.rows, file)
    rows = raw.rows.assign(image=find_files(raw.rows[column], place))
    return with_rows(raw, rows.drop(columns=[column] if column != "image" else []), place, part)


def file_column(rows: pd.DataFrame, named: str | None) -> str:
    """Return the column with the files.

    Raises:
        UserError: there is no such column.
    """
    if named is not None:
        if named not in rows:
            raise UserError(
                f"`data.source.file={named}`: the table has no such column.{did_you_mean(named, list(rows))}"
            )
        return named
    lower = {str(name).lower(): name for name in reversed(list(rows))}
    for name in FILE_COLUMNS:
        if name in lower:
            return str(lower[name])
    raise UserError(
        f"The table has no column called {', '.join(FILE_COLUMNS[:5])}: type `data.source.file=COLUMN` for that with "
        f"the files. There are: {', '.join(map(str, rows))}."
    )
