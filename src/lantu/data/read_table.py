"""Read a table from a CSV, TSV, Parquet or JSON lines file, and say what was assumed and what could not be read."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lantu.data.csv_rows import read_csv
from lantu.data.encoding import code_page_notice, encoding_of, is_code_page
from lantu.data.parquet import read_parquet
from lantu.errors import UserError
from lantu.notices import warn_once

READERS: dict[str, Callable[..., tuple[pd.DataFrame, int, list[str]]]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": lambda path, as_text: _read_parquet(path),
    ".jsonl": lambda path, as_text: _read_jsonl(path, as_text=as_text),
}
"""By a file's ending: what gives its rows, how many could not be read, and sentences about what was assumed."""


_REMEDIES = {
    ".gz": "Unpack the file first: `gunzip -k FILE`.",
    ".bz2": "Unpack the file first: `bunzip2 -k FILE`.",
    ".xz": "Unpack the file first: `unxz -k FILE`.",
    ".zst": "Unpack the file first: `unzstd FILE`.",
    ".zip": "Unpack the file first: `unzip FILE`.",
    ".json": "JSON lines have one object a line: `jq -c '.[]' FILE.json > FILE.jsonl`.",
    ".ndjson": "Rename the file: JSON lines end in .jsonl.",
    ".txt": "Rename the file to .csv or .tsv if it is a table.",
}
"""What to do with a file of another ending."""


def read_table(path: Path, *, as_text: bool = False) -> tuple[pd.DataFrame, int]:
    """A table by its file's ending, and how many rows could not be read; says on standard error what was assumed."""
    rows, bad, notes = read_table_with_notes(path, as_text=as_text)
    for note in notes:
        warn_once(note)
    if bad:
        warn_once(f"{path}: {bad:,} row{'s' * (bad != 1)} could not be read")
    return rows, bad


def read_table_with_notes(path: Path, *, as_text: bool = False) -> tuple[pd.DataFrame, int, list[str]]:
    """A table by its file's ending, how many rows could not be read, and sentences about how it was read.

    Raises:
        UserError: no such file, another ending, or content that is no table.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a table is a file: name one of the files in it.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        remedy = _REMEDIES.get(path.suffix.lower(), "A spreadsheet can save its table as CSV.")
        raise UserError(f"{path}: tables end in {', '.join(READERS)}. {remedy}")
    try:
        rows, bad, notes = reader(path, as_text=as_text)
    except UserError:
        raise
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors are of these kinds
        raise UserError(f"{path} cannot be read as a table: {str(error).splitlines()[0].rstrip('.')}.") from error
    if not len(rows):
        raise UserError(f"{path} is a table without rows.")
    rows.columns = [str(column).strip() for column in rows.columns]
    twice = sorted(set(rows.columns[rows.columns.duplicated()]))
    if twice:
        raise UserError(
            f"{path}: {', '.join(map(repr, twice))} names more than one column. Give every column its own name."
        )
    return rows, bad, notes


def _read_jsonl(path: Path, *, as_text: bool) -> tuple[pd.DataFrame, int, list[str]]:
    encoding = encoding_of(path)
    # types as JSON has them: pandas would take 1700000000 for a date where the column is called modified_at
    options = {"dtype": False, "convert_dates": False, "precise_float": True} if as_text else {}
    with path.open(encoding=encoding) as file:
        other = next((line.strip() for line in file if line.strip() and not line.lstrip().startswith("{")), None)
    if other is not None:
        raise UserError(
            f'{path} holds no JSON lines: each line is one object, such as {{"age": 3}}, and one is {other[:40]!r}. '
            "`jq -c '.[]' FILE.json > FILE.jsonl` makes lines of an array."
        )
    try:
        rows = pd.read_json(path, lines=True, encoding=encoding, **options)
    except ValueError as error:
        if "too big" not in str(error):
            raise
        with path.open(encoding=encoding) as file:  # pandas reads no integers beyond 64 bits
            rows = pd.DataFrame([json.loads(line) for line in file if line.strip()])
    return rows, 0, [code_page_notice(encoding)] if is_code_page(encoding) else []


def _read_parquet(path: Path) -> tuple[pd.DataFrame, int, list[str]]:
    rows = read_parquet(path)
    durations = [name for name in rows if pd.api.types.is_timedelta64_dtype(rows[name])]
    for name in durations:
        rows[name] = rows[name].dt.total_seconds()
    return rows, 0, [f"`{name}`: durations are read in seconds" for name in durations]
