"""Read the rows of a CSV file as a spreadsheet would, in the dialect that was found."""

import csv
import re
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.csv_dialect import Dialect, find_dialect
from lantu.data.values import is_number
from lantu.errors import UserError

LARGE = 1 << 28
"""Bytes of a file that is read again by pandas and not in Python, which takes a minute for every gigabyte or so."""
TOTALS = frozenset(
    {
        *("total", "totals", "grand total", "subtotal", "sum", "summe", "gesamt", "gesamtsumme", "totaal", "somme"),
        *("total général", "totale", "suma", "итого", "合计", "总计", "合計"),
    }
)
"""What stands at the beginning of a line of totals, in small letters."""
_END = "\x00end"
"""Given to the parser behind the last line: where it is no row of its own, a quote was not closed."""


def read_csv(path: Path, *, as_text: bool = False) -> tuple[pd.DataFrame, int, list[str]]:
    """The rows of a CSV file, how many rows could not be read, and sentences about what was assumed.

    Args:
        as_text: keep every value as the text that stands in the file, stripped, with NaN where nothing stands; else
            pandas decides each column's type.

    Raises:
        UserError: the file has no header, or one that names two columns alike, or no rows.
    """
    dialect = find_dialect(path)
    rows, bad, notes = _rows(path, dialect)
    notes = [*dialect.notes, *notes]
    # a separator at the end of each line, or an unnamed column without a value
    kept = [bool(name) or not rows.iloc[:, place].isna().all() for place, name in enumerate(rows.columns)]
    rows = rows.loc[:, kept]
    rows.columns = [name or f"Unnamed: {place}" for place, name in enumerate(rows.columns)]
    if not len(rows):
        raise UserError(f"{path} is a table without rows.")
    if not as_text:
        rows = _typed(rows)
    rows.attrs["separator"] = dialect.separator
    return rows, bad, notes


def with_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """Texts as numbers in the columns where nothing is lost by it: not codes such as 007, nor 12,500.00."""
    found = {}
    for name in rows:
        texts = rows[name].dropna()
        numbers = pd.to_numeric(rows[name], errors="coerce")
        codes = texts.astype(str).str.match(r"[+-]?0\d").any()
        found[name] = rows[name] if codes or texts.empty or numbers[texts.index].isna().any() else numbers
    return pd.DataFrame(found)


def without_repeated_header(rows: pd.DataFrame, dialect: Dialect) -> np.ndarray:
    """Which rows (N,) of texts repeat the header; the rule of dashes below that of a Markdown table counts as one."""
    if not len(rows):
        return np.zeros(0, dtype=bool)
    header = pd.Series([name or None for name in dialect.names], index=rows.columns, dtype=object)
    again = (rows.eq(header) | header.isna()).all(axis=1).to_numpy(dtype=bool)
    dashes = bool(rows.iloc[0][header.notna().to_numpy()].str.fullmatch(":?-{2,}:?").eq(True).all())
    return again | (dashes & (np.arange(len(rows)) == 0))


def check_quotes(rows: pd.DataFrame, dialect: Dialect, path: Path) -> None:
    """Raise a `UserError` where a field holds lines that look like rows: its quote was closed by a later row's."""
    broken = [(place, np.flatnonzero(rows[place].str.contains("\n", regex=False).eq(True))) for place in rows]
    if not any(len(found) for _, found in broken):
        return
    numeric = []
    for place, name in enumerate(rows):
        texts = [text for text in rows[name].head(200) if isinstance(text, str) and text]
        if texts and sum(map(is_number, texts)) > 0.8 * len(texts):
            numeric.append(place)
    for name, found in broken:
        for number in found:
            lines = [line.split(dialect.separator) for line in rows[name].iloc[number].splitlines()[1:-1]]
            like = [
                line for line in lines
                if len(line) == dialect.fields and all(is_number(line[place]) or not line[place] for place in numeric)
            ]  # fmt: skip
            if like and (numeric or len(like) >= max(3, 0.9 * len(lines))):
                raise UserError(
                    f"{path}, row {number + 1:,}: a quote opens a field that goes on over {len(lines) + 2} lines, and "
                    f"they look like rows ({dialect.separator.join(like[0])[:40]!r}). Close the quote, or remove it."
                )


def _rows(path: Path, dialect: Dialect) -> tuple[pd.DataFrame, int, list[str]]:
    """All rows as texts, stripped; NaN where nothing stands."""
    options = {**dialect.options(), "dtype": str, "keep_default_na": False, "na_values": []}
    bad, notes = 0, []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # fields behind the last name would be cut off
            with dialect.below_header(path) as file:
                rows = pd.read_csv(file, **options)
    except (pd.errors.ParserError, pd.errors.ParserWarning):
        rows, bad = _without_long_rows(path, dialect, options)
    except pd.errors.EmptyDataError:
        rows = pd.DataFrame(columns=range(dialect.fields), dtype=str)
    rows = rows.apply(lambda column: column.str.strip())
    if len(rows):
        check_quotes(rows, dialect, path)
    again = without_repeated_header(rows, dialect)
    lone = _lines_of_one_field(path, dialect, rows)
    if again.any():
        notes.append(f"rows that repeat the header left out: {int(again.sum()):,}")
    if lone.any():
        example = str(rows.loc[lone].iloc[0, 0])[:60]
        notes.append(f"lines with one field left out: {int(lone.sum()):,}, such as {example!r}")
    rows = rows.mask(rows.eq(""))
    rows = rows[~(again | lone)].reset_index(drop=True)
    if ends_in_totals(rows):
        notes.append(totals_note(rows))
        rows = rows.iloc[:-1]
    rows.columns = dialect.names
    return rows, bad, notes


def ends_in_totals(rows: pd.DataFrame, *, before: int = 0) -> bool:
    """Whether the last row begins with a word for a total that no other row has there.

    Args:
        rows: texts, with NaN where nothing stands.
        before: rows of the same table that stand above these.
    """
    if len(rows) + before < 3 or rows.shape[1] < 2 or not len(rows) or rows.iloc[-1].isna().all():
        return False
    place = int(rows.iloc[-1].notna().to_numpy().argmax())
    return bool(_is_total(rows.iloc[-1:, place]).any() and not _is_total(rows.iloc[:-1, place]).any())


def has_totals(rows: pd.DataFrame) -> bool:
    """Whether a row begins, in one of the first three columns, with a word for a total."""
    return bool(len(rows)) and bool(_is_total(rows.iloc[:, :3].bfill(axis=1).iloc[:, 0]).any())


def totals_note(rows: pd.DataFrame) -> str:
    """What is said of a last line of totals that is left out."""
    return f"a last line of totals left out: {rows.iloc[-1].dropna().iloc[0]!r}"


def _is_total(texts: pd.Series) -> pd.Series:
    return texts.astype(object).map(lambda text: isinstance(text, str) and text.rstrip(" :").casefold() in TOTALS)


def _lines_of_one_field(path: Path, dialect: Dialect, rows: pd.DataFrame) -> np.ndarray:
    """Which rows (N,) are lines without a separator, such as a comment or a footer, where there are several columns."""
    blank = blank_but_one(rows)
    if not blank.any():
        return blank
    alone = lines_alone(path, dialect)
    return blank & alone if len(alone) == len(rows) else np.zeros(len(rows), dtype=bool)


def blank_but_one(rows: pd.DataFrame) -> np.ndarray:
    """Which rows (N,) have nothing but a first value, where there are three columns or more."""
    if rows.shape[1] < 3:
        return np.zeros(len(rows), dtype=bool)
    return (rows.iloc[:, 1:].isna() | rows.iloc[:, 1:].eq("")).all(axis=1).to_numpy(dtype=bool)


def lines_alone(path: Path, dialect: Dialect) -> np.ndarray:
    """Which rows (N,) of a file are lines without a separator; none, (0,), where it cannot be told."""
    with dialect.below_header(path) as file:
        reader = csv.reader(file, delimiter=dialect.separator, quotechar=dialect.quote, escapechar=dialect.escape)
        try:
            return np.array([len(row) == 1 for row in reader if any(row) or len(row) > 1], dtype=bool)
        except csv.Error:
            return np.zeros(0, dtype=bool)


def _without_long_rows(path: Path, dialect: Dialect, options: dict[str, Any]) -> tuple[pd.DataFrame, int]:
    """Read again without the rows that have too many fields, and count those.

    Raises:
        UserError: a quote is opened and never closed, or a field is too long.
    """
    if path.stat().st_size > LARGE:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            with dialect.below_header(path) as file:
                rows = pd.read_csv(file, on_bad_lines="warn", **options)
        return rows, sum(len(re.findall(r"line \d+", str(each.message))) for each in caught)
    kept, bad, began = [], 0, 0
    signs: dict[str, Any] = {"delimiter": dialect.separator, "quotechar": dialect.quote, "escapechar": dialect.escape}
    with dialect.below_header(path) as file:
        reader = csv.reader(chain(file, ["\n", _END]), skipinitialspace=True, **signs)
        try:
            for row in reader:
                if row == [_END]:
                    break
                if row and row[-1].endswith(_END):
                    raise UserError(
                        f"{path}, line {dialect.header + began + 1:,}: a quote ({dialect.quote}) opens a field and is "
                        "never closed. Close it, or remove it."
                    )
                began = reader.line_num
                if any(value.strip() for value in row[dialect.fields :]):
                    bad += 1
                elif len(row) > 1 or any(row):
                    kept.append([*row[: dialect.fields], *[""] * (dialect.fields - len(row))])
        except csv.Error as error:
            raise UserError(f"{path}, line {dialect.header + began + 1:,} cannot be read: {error}.") from error
    return pd.DataFrame(kept, columns=range(dialect.fields), dtype=str), bad


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Each column as pandas reads it: numbers and booleans where all of its values are such."""
    from io import StringIO

    buffer = StringIO()
    rows.to_csv(buffer, index=False)
    buffer.seek(0)
    return pd.read_csv(buffer)
