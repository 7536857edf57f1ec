"""Find how the characters of a text file are encoded."""

import codecs
from functools import lru_cache
from pathlib import Path

from lantu.errors import UserError

SAMPLE = 2**18
"""Bytes that an encoding other than UTF-8 is told from."""
BLOCK = 2**17
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, which are no text; UTF-32's begins as UTF-16's does."""


def encoding_of(path: Path) -> str:
    """A Python codec that reads the whole file: by its byte order mark, else UTF-8, else charset-normalizer's guess.

    Raises:
        UserError: none does, or the file is no text.
    """
    stat = path.stat()
    return _encoding_of(path, stat.st_size, stat.st_mtime_ns)


def read_text(path: Path) -> str:
    """The text of a file, in whatever encoding, without a byte order mark."""
    return path.read_text(encoding=encoding_of(path))


def is_utf8(encoding: str) -> bool:
    """Whether nothing need be said of it."""
    return encoding in ("utf-8", "utf-8-sig", "ascii")


@lru_cache(maxsize=100_000)
def _encoding_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            if (place := _failure(path, encoding)) is not None:
                raise UserError(f"{path} begins as {encoding.upper()} text, but is damaged near byte {place:,}.")
            return encoding
    if b"\0" in sample:
        return _without_mark(path, sample)
    place = _failure(path, "utf-8")
    if place is None:
        return "utf-8"
    if _is_mostly_utf8(path, place):
        raise UserError(f"{path} is UTF-8 text that is damaged near byte {place:,}. Mend or replace the file.")
    from charset_normalizer import from_bytes

    found = from_bytes(sample).best()
    if found is None or _failure(path, found.encoding) is not None:
        raise UserError(
            f"{path} is no UTF-8 text, and its encoding cannot be told. Convert it, such as by "
            "`iconv -f ENCODING -t utf-8 FILE`."
        )
    return str(found.encoding)


def _failure(path: Path, encoding: str) -> int | None:
    """About which byte of a file an encoding does not read; None: it reads them all."""
    decoder = codecs.getincrementaldecoder(encoding)()
    place = 0
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeError as error:
                return place + getattr(error, "start", 0)
            if not block:
                return None
            place += len(block)


def _without_mark(path: Path, sample: bytes) -> str:
    """UTF-16 of which the mark was left out: every other byte of most scripts' spaces and punctuation is zero."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > len(sample) / 20 and zeros > 20 * others and _failure(path, encoding) is None:
            return encoding
    raise UserError(f"{path} is no text: it holds zero bytes.")


def _is_mostly_utf8(path: Path, place: int) -> bool:
    """Whether around a place that is no UTF-8 there are many characters that can hardly be anything else."""
    with path.open("rb") as file:
        file.seek(max(0, place - SAMPLE // 2))
        text = file.read(SAMPLE).decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(each > "\x7f" for each in text) - bad
    return good >= 5 * bad
