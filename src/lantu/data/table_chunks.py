"""Cut a table that is larger than memory into files of some rows each, read as the whole file would be read."""

import json
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.data.csv_dialect import find_dialect
from lantu.data.csv_rows import (
    blank_but_one,
    check_quotes,
    ends_in_totals,
    has_totals,
    lines_alone,
    totals_note,
    without_repeated_header,
)
from lantu.data.encoding import code_page_notice, encoding_of, is_code_page
from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.whole_files import write_whole

ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl")
"""Tables that can be cut."""


def chunk_files(path: Path, folder: Path, *, rows: int) -> Iterator[Path]:
    """Files with the rows of a table in order, at most so many in each; the caller deletes them.

    A CSV file's dialect is found once, for the whole file. Its values stay texts, as the data modules read them.

    Args:
        path: a table with one of `ENDINGS`.
        folder: that they are written into.

    Raises:
        UserError: the file is no table, or has rows that only a look at all of it could understand.
    """
    makers = {".parquet": _of_parquet, ".jsonl": _of_jsonl}
    return makers.get(path.suffix.lower(), _of_csv)(path, folder, rows)


def _of_parquet(path: Path, folder: Path, rows: int) -> Iterator[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for number, batch in enumerate(file.iter_batches(batch_size=rows)):
                chunk = folder / f"{number:06d}.parquet"
                pq.write_table(pa.Table.from_batches([batch]), chunk)
                yield chunk
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read as a table: {str(error).splitlines()[0].rstrip('.')}.") from error


def _of_jsonl(path: Path, folder: Path, rows: int) -> Iterator[Path]:
    encoding = encoding_of(path)
    if is_code_page(encoding):
        warn_once(code_page_notice(encoding))
    try:
        with path.open(encoding=encoding, newline="\n") as file:
            lines = (line.strip() for line in file if line.strip())
            number = 0
            while part := [*islice(lines, rows)]:
                chunk = folder / f"{number:06d}.jsonl"
                chunk.write_text("".join(f"{line}\n" for line in part), encoding="utf-8")
                yield chunk
                number += 1
    except UnicodeError as error:
        raise UserError(f"{path} cannot be read as {encoding}: {error}.") from error


def _of_csv(path: Path, folder: Path, rows: int) -> Iterator[Path]:
    dialect = find_dialect(path)
    for note in dialect.notes:
        warn_once(note)
    options = {**dialect.options(), "dtype": str, "keep_default_na": False, "na_values": []}
    number = first = 0
    totals_above = False
    alone: np.ndarray | None = None
    try:
        with warnings.catch_warnings(), dialect.below_header(path) as file:
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for frame, is_last in _with_the_last_marked(pd.read_csv(file, chunksize=rows, **options)):
                texts = frame.apply(lambda column: column.str.strip())
                check_quotes(texts, dialect, path)
                again = without_repeated_header(texts, dialect)
                if (blank := blank_but_one(texts)).any():  # a comment or a footer, if there is no separator in its line
                    alone = lines_alone(path, dialect) if alone is None else alone
                    here = alone[first : first + len(texts)]
                    again = again | (blank & here) if len(here) == len(texts) else again
                before, first = first, first + len(texts)
                texts = texts.mask(texts.eq(""))[~again].reset_index(drop=True)
                if is_last and not totals_above and ends_in_totals(texts, before=before):
                    warn_once(totals_note(texts))
                    texts = texts.iloc[:-1]
                totals_above = totals_above or has_totals(texts)
                texts.columns = [name or f"Unnamed: {place}" for place, name in enumerate(dialect.names)]
                if not dialect.names[-1] and texts.iloc[:, -1].isna().all():  # a separator at the end of each line
                    texts = texts.iloc[:, :-1]
                if len(texts):
                    chunk = folder / f"{number:06d}.parquet"
                    texts.to_parquet(chunk, index=False)
                    yield chunk
                    number += 1
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(
            f"{path}: some rows have more fields than the header ({str(error).splitlines()[0][:150]}). Such files are "
            "read whole only: `rows_at_once=null`; or write the file as Parquet."
        ) from error


def _with_the_last_marked(frames: Iterator[pd.DataFrame]) -> Iterator[tuple[pd.DataFrame, bool]]:
    """Each frame, and whether none follows; one that cannot be read is an error after those before it."""
    before: pd.DataFrame | None = None
    while True:
        try:
            frame = next(frames, None)
        except Exception:
            if before is not None:
                yield before, False
            raise
        if before is not None:
            yield before, frame is None
        if frame is None:
            return
        before = frame


def text_types(frame: pd.DataFrame) -> dict[str, str]:
    """What each column of texts would be as numbers: integer, number, text, or empty where nothing stands."""
    from lantu.data.csv_rows import with_numbers

    found = {}
    for name, column in with_numbers(frame).items():
        kind = column.dtype.kind
        empty = bool(frame[name].isna().all())
        found[str(name)] = "empty" if empty else "integer" if kind in "iu" else "number" if kind == "f" else "text"
        if found[str(name)] == "number" and not (column.dropna() % 1).any():
            found[str(name)] = "integer"  # with gaps
    return found


def common_type(types: set[str]) -> str:
    """The type of a column whose parts have these."""
    known = types - {"empty"}
    return "text" if not known or "text" in known else "number" if "number" in known else "integer"


def write_state(path: Path, state: dict[str, object]) -> None:
    """Write a small JSON file in one move."""
    write_whole(path, json.dumps(state, indent=1))
