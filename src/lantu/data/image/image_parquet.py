"""Pictures in Parquet files, as the Hugging Face hub keeps them: a column of {"bytes", "path"} beside the labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.image.parquet_cell import ParquetCell
from lantu.data.image.webdataset import part_of
from lantu.data.sources import Raw
from lantu.errors import UserError

LARGEST = 256 * 2**20
"""Bytes of a row group's pictures: workers keep several row groups at a time."""


def image_parquet(path: str, *, image: str = "image") -> Raw:
    """The rows of Parquet files in a folder, or of one file; of the pictures only where they lie is kept.

    Folders train, validation and test above the files, or files whose names begin so, are the parts. Class names of
    the hub's features are used.

    Args:
        image: the column with the pictures: {"bytes", "path"}, or bytes.

    Raises:
        UserError: no such files or column, a damaged file, or row groups too large to be read one by one.
    """
    place = Path(path).expanduser()
    files = [place] if place.is_file() else sorted(each for each in place.rglob("*.parquet") if each.name[0] != ".")
    if not files:
        raise UserError(f"`data.path={path}`: there are no .parquet files.")
    frames = [_rows(file, image) for file in files]
    above = place.parent if place.is_file() else place
    parts = [part_of(file.relative_to(above)) for file in files]
    return Raw(
        name=place.resolve().name,
        rows=pd.concat(frames, ignore_index=True),
        split=np.repeat(parts, [len(frame) for frame in frames]),
        source={"uri": str(place.resolve())},
    )


def _rows(file: Path, image: str) -> pd.DataFrame:
    """The columns of a file; in place of pictures, `ParquetCell`s."""
    import pyarrow.parquet as pq

    from lantu.data.parquet import said_damaged

    try:
        with pq.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
            if image not in schema.names:
                raise UserError(f"`data.image={image}`: {file} has the columns {', '.join(schema.names)}.")
            frame = opened.read(columns=[name for name in schema.names if name != image]).to_pandas()
    except UserError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise UserError(said_damaged(file, error)) from error
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > LARGEST:
        raise UserError(
            f"{file} has row groups of {largest / 2**20:,.0f} MB, which workers would have to read for each picture. "
            f"Write it again with `row_group_size=100`, as the hub does, or read it with `data=image_table`."
        )
    counts = [group.num_rows for group in groups]
    cells = [ParquetCell(str(file), image, group, row) for group, count in enumerate(counts) for row in range(count)]
    for name, classes in _class_names(schema).items():
        if name in frame:
            numbers = frame[name].fillna(-1).astype(int)
            frame[name] = pd.Categorical.from_codes(numbers.where(numbers >= 0, -1), classes)
    frame[image] = pd.Series(cells, index=frame.index, dtype=object)
    return frame


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of each column, where the file keeps the hub's features."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets

    features = datasets.Features.from_arrow_schema(schema)
    return {name: each.names for name, each in features.items() if isinstance(each, datasets.ClassLabel)}
