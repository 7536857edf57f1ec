"""A table whose columns name pictures and recordings, beside texts and numbers."""

import numpy as np

from lantu.data.file_table import find_files, read_file_table, with_rows
from lantu.data.multimodal.input_kinds import missing_cell
from lantu.data.sources import Raw
from lantu.errors import UserError
from lantu.suggestions import did_you_mean


def media_table(
    path: str,
    *,
    image: str | None = None,
    audio: str | None = None,
    folder: str | None = None,
    part: str | None = None,
) -> Raw:
    """A table with the files of each row; cells without a file stay empty.

    Args:
        path: CSV, TSV, Parquet or JSON lines, by the ending.
        image, audio: the columns with files; None: there are none.
        folder: where the files are; None: where the table is, or below.
        part: a column that says train, validation or test; None: all rows are divided by `data.split`.

    Raises:
        UserError: there is no such column or folder, or none of a column's files exists.
    """
    raw, place = read_file_table(path, folder)
    rows = raw.rows
    for option, column in (("image", image), ("audio", audio)):
        if column is None:
            continue
        if column not in rows:
            raise UserError(
                f"`data.{option}={column}`: the table has no such column.{did_you_mean(column, list(rows))}"
            )
        filled = ~np.array([missing_cell(cell) for cell in rows[column]])
        cells = rows[column].astype(object)
        if filled.any() and isinstance(cells[filled].iloc[0], str):
            cells.loc[filled] = find_files(cells[filled], place)
        cells.loc[~filled] = None
        rows = rows.assign(**{column: cells})
    return with_rows(raw, rows, place, part)
