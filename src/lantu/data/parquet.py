"""Read Parquet files, with a clear error for damaged ones: the format's checksums are optional and rarely written."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from lantu.errors import UserError

T = TypeVar("T")


def read_parquet(path: Path) -> pd.DataFrame:
    """A Parquet file as a data frame.

    Raises:
        UserError: the file is damaged, or is no Parquet file.
    """
    if (damage := damage_of(path)) is not None:
        raise UserError(damage)
    try:
        return pd.read_parquet(path)
    except Exception as error:  # what pandas wrote beside the table may be damaged, with whatever error that brings
        raise UserError(said_damaged(path, error)) from error


def damage_of(path: Path) -> str | None:
    """What is wrong with a Parquet file, as a sentence; None if all of it can be read."""
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            return f"{path}: {', '.join(map(repr, twice[:5]))} names more than one column."
        # texts that are no UTF-8 would otherwise be noticed when they are first used
        pq.read_table(path, page_checksum_verification=True).validate(full=True)
    except Exception as error:
        return said_damaged(path, error)
    return None


def naming_the_damaged_file(folder: Path, read: Callable[[], T]) -> T:
    """Call `read` on a folder of Parquet files; an error names the damaged file.

    Raises:
        UserError: a file is damaged.
    """
    with _quiet_datasets():
        try:
            return read()
        except UserError:
            raise
        except Exception as error:
            for path in sorted(folder.rglob("*.parquet")):
                if (damage := damage_of(path)) is not None:
                    raise UserError(damage) from error
            raise UserError(f"the data in {folder} cannot be read: {_first_line(error)}.") from error


@contextmanager
def _quiet_datasets() -> Any:
    """Suppress the log of `datasets` about an error that it raises as well."""
    import datasets

    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(before)


def said_damaged(path: Path, error: Exception) -> str:
    """A sentence about an error of a Parquet file."""
    return f"{path} is damaged, or is no Parquet file: {_first_line(error)}. Replace it with a whole copy."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
