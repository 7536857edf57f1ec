"""A table whose columns name pictures and recordings, beside texts and numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lantu.data.image.image_table import located, parts_of
from lantu.data.multimodal.input_kinds import missing_cell
from lantu.data.sources import Raw, table_file
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
        UserError: no such column or folder, or no file of a column is there.
    """
    raw = table_file(path, as_text=True)
    place = Path(folder).expanduser() if folder else Path(path).expanduser().parent
    if not place.is_dir():
        raise UserError(f"`data.source.folder={folder}`: there is no such folder.")
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
            cells.loc[filled] = located(cells[filled], place)
        cells.loc[~filled] = None
        rows = rows.assign(**{column: cells})
    split = raw.split if part is None else parts_of(rows, part)
    return replace(raw, rows=rows, split=split, source={**raw.source, "folder": str(place.resolve())})
