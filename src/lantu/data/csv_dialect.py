"""Find how a CSV file is written: its encoding, separator, quoting and header, as a spreadsheet would."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from lantu.data.encoding import code_page_notice, encoding_of, is_code_page
from lantu.data.values import is_number
from lantu.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
SAMPLE_LINES = 100
"""Lines that the separator and the header are found in; the libraries' detection takes seconds over a whole file."""
RARE_SEPARATORS = ("^", "~", "¦", "§", "\x01", ":", " ")
"""Looked for in a table that has one column otherwise: each line must have equally many."""
_NAMES = {
    ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", "^": "carets", "~": "tildes", ":": "colons",
    " ": "spaces", "\x01": "control characters (\\x01)",
}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written."""

    encoding: str
    separator: str
    quote: str
    escape: str | None
    header: int
    """Lines up to and with the header."""
    names: list[str]
    fields: int
    """Fields of a row of data; may be one more than there are names."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user about what was assumed."""

    @contextmanager
    def below_header(self, path: Path) -> Iterator[TextIO]:
        """The file from the first row of data on: a quote or a line break in a title or a name hides no row."""
        with path.open(encoding=self.encoding, newline="") as file:
            for _ in islice(file, self.header):
                pass
            yield file

    def options(self) -> dict[str, Any]:
        """As `pandas.read_csv` takes them."""
        return {
            "sep": self.separator,
            "quotechar": self.quote,
            "escapechar": self.escape,
            "header": None,
            "names": [*range(self.fields)],
            "index_col": False,
            "skipinitialspace": True,
        }


def find_dialect(path: Path) -> Dialect:
    """The dialect of a CSV file, found in its first lines.

    Raises:
        UserError: it has no header, or one that names two columns alike.
    """
    encoding = encoding_of(path)
    notes = [code_page_notice(encoding)] if is_code_page(encoding) else []
    with path.open(encoding=encoding, newline="") as file:
        lines = list(islice(file, SAMPLE_LINES))
    if len(lines) == SAMPLE_LINES:
        lines.pop()  # may be the beginning of a quoted field that goes on
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} cannot be read as a table: it is empty.")
    if any("\0" in line for line in lines):
        raise UserError(f"{path} cannot be read as a table: it holds NUL characters, so it is not text, or is damaged.")
    named = re.fullmatch(r"sep=(.)\s*", lines[0])  # what Excel writes
    separator, quote, escape = _delimiters("".join(lines[1:] if named else lines), path)
    separator = named[1] if named else separator
    rows, ends = _split(lines, separator, quote, escape)
    if named:
        rows[0] = []
    if not any(map(any, rows)):
        raise UserError(f"{path} cannot be read as a table: its first lines hold separators and nothing between them.")
    widths = Counter(len(row) for row in rows if row)
    width = widths.most_common(1)[0][0]
    place = _place_of_header(rows, width)
    if width > 1 and len(rows[place]) == 1:  # two columns: a line with one field is no header
        place = next((number for number, row in enumerate(rows) if len(row) > 1), place)
    if width == 1:
        place = next((n for n, row in enumerate(rows) if row and row[0] and not row[0].startswith("#")), place)
    before = [line.strip() for line in lines[: ends[place - 1] if place else 0] if line.strip()]
    if before and not (named and len(before) == 1):
        shown = before[0] if len(before[0]) <= 60 else before[0][:57] + "..."
        notes.append(f"{len(before)} line{'s' * (len(before) > 1)} above the header passed over: {shown!r}")
    header, data = [name.strip() for name in rows[place]], [row for row in rows[place + 1 :] if row]
    header, fields = _widened(header, data, path)
    _check_header(header, data, path)
    if separator not in (",", "\t") or path.suffix.lower() == ".tsv" != separator == "\t":
        notes.append(f"columns are separated by {_NAMES.get(separator, repr(separator))}")
    return Dialect(encoding, separator, quote, escape, ends[place], header, fields, notes)


def _place_of_header(rows: list[list[str]], width: int) -> int:
    """The first row that is as wide as most and, of three columns or more, as filled: titles above are padded.

    Comments above it, which begin with #, are passed over; a single such line may be the header itself.
    """
    comments = next((n for n, row in enumerate(rows) if row and not row[0].startswith("#")), 0)
    after = rows[comments]
    if sum(map(bool, rows[:comments])) > 1 and len(after) == width and not any(map(is_number, after)):
        return comments
    filled = [sum(map(bool, row)) for row in rows]
    usual = Counter(count for count in filled if count).most_common(1)[0][0]
    wide = [number for number, row in enumerate(rows) if len(row) >= max(1, width - 1) and filled[number]]
    named = [number for number in wide if width < 3 or 2 * filled[number] > min(usual, width)]
    return next(iter(named or wide), 0)


def _rare_separator(sample: str) -> str | None:
    """The sign that all lines, three or more, have equally often, where none of the usual ones separates."""
    lines = [line.strip() for line in sample.splitlines() if line.strip()]
    for sign in RARE_SEPARATORS if len(lines) >= 3 else ():
        rows = [re.split(" +", line) if sign == " " else line.split(sign) for line in lines]
        if len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
            continue
        if sign not in " :" or all(any(map(is_number, row)) for row in rows[1:]):  # and no sentences or times
            return sign
    return None


def _delimiters(sample: str, path: Path) -> tuple[str, str, str | None]:
    """Separator, quote and escape signs."""
    from clevercsv.detect import Detector

    found = Detector().detect(sample, delimiters=list(SEPARATORS))
    separator = found.delimiter if found is not None else ""
    if not separator or separator not in sample:
        if rare := _rare_separator(sample):
            return rare, '"', None
        first = next(line for line in sample.splitlines() if line.strip())
        default = "\t" if path.suffix.lower() == ".tsv" else ","
        separator = max(SEPARATORS, key=lambda each: (first.count(each), each == default))
    quote = found.quotechar if found is not None else ""
    escape = found.escapechar if found is not None else ""
    if quote != '"' and re.search(rf'(^|{re.escape(separator)}) *"', sample, re.MULTILINE):
        quote = '"'  # in a table whose fields begin with double quotes, the others are apostrophes, as in O'Hara
    return separator, quote or '"', escape or None


def _split(lines: list[str], separator: str, quote: str, escape: str | None) -> tuple[list[list[str]], list[int]]:
    """The rows of the sample, stripped, and behind which line each ends."""
    reader = csv.reader(lines, delimiter=separator, quotechar=quote, escapechar=escape, skipinitialspace=True)
    rows, ends = [], []
    try:
        for row in reader:
            rows.append([value.strip() for value in row])
            ends.append(reader.line_num)
    except csv.Error:  # a sample that ends inside a field, or a NUL
        pass
    return rows, ends


def _widened(header: list[str], data: list[list[str]], path: Path) -> tuple[list[str], int]:
    """Names for the fields of a row, where rows have one more than the header: a last separator, or R's row names."""
    longer = [row for row in data if len(row) > len(header)]
    if len(longer) * 2 <= len(data) or not data:
        return header, len(header)
    if all(not any(row[len(header) :]) for row in longer):
        return [*header, *[""] * (len(longer[0]) - len(header))], len(longer[0])
    if all(len(row) == len(header) + 1 for row in data) and len({row[0] for row in data}) == len(data):
        return ["", *header], len(header) + 1
    raise UserError(
        f"{path}: the header has {len(header)} names and the rows have {len(longer[0])} fields, so it is not known "
        "which name belongs to which. Give every column a name."
    )


def _check_header(header: list[str], data: list[list[str]], path: Path) -> None:
    twice = [name for name, count in Counter(name for name in header if name).items() if count > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:5])) + ", ..." * (len(twice) > 5)
        raise UserError(
            f"{path}: {shown} names more than one column (spaces around a name do not count). Give every column a name "
            "of its own."
        )
    columns = [[row[place] for row in data if place < len(row) and row[place]] for place in range(len(header))]
    numeric = [bool(column) and all(map(is_number, column[:50])) for column in columns]
    pairs = [
        (name, of_numbers, column) for name, of_numbers, column in zip(header, numeric, columns, strict=True) if name
    ]
    numbers = [is_number(name) for name, of_numbers, _ in pairs if of_numbers]
    texts = [name in column for name, of_numbers, column in pairs if not of_numbers]
    if data and numbers and all(numbers) and all(texts):
        raise UserError(
            f"{path} has no header: its first row holds values ({', '.join(header[:4])}). Put a row with the columns' "
            "names above it."
        )
