"""Detect the character encoding of a text file, for texts and tables alike."""

import codecs
from functools import lru_cache
from pathlib import Path

from lantu.errors import UserError

SAMPLE = 2**18
"""Bytes from which an encoding other than UTF-8 is detected."""
BLOCK = 2**17
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks. UTF-32's comes first, because it begins with UTF-16's."""
_NO_TEXTS = (
    (b"\x1f\x8b", "compressed (gzip)"), (b"BZh", "compressed (bzip2)"), (b"\xfd7zXZ", "compressed (xz)"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)"), (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"\xd0\xcf\x11\xe0", "an old Excel spreadsheet"), (b"PAR1", "a Parquet file"), (b"SQLite format 3", "a database"),
    (b"%PDF-", "a PDF file"),
)  # fmt: skip
_UNPACK = {
    "a zip archive or a spreadsheet": "Unpack it, or save the table as CSV from a spreadsheet.",
    "an old Excel spreadsheet": "Save its table as CSV.",
    "a Parquet file": "Give it a name that ends in .parquet.",
    "a database": "Export its table as CSV.",
    "a PDF file": "Export its table or text.",
}
"""The first bytes of files that are often mistaken for texts, and what to do about them."""
_CODE_PAGES = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "mac_roman", "koi8_r"),
    *("gb18030", "big5", "cp932", "euc_jp", "euc_kr"),
]
_SIGNS = frozenset("€£¥§°±²³µ·½¼¾×÷©®™‘’‚“”„«»–—…•\xa0")  # noqa: RUF001
"""What a text without accented letters has outside ASCII; too little for a detector."""


def encoding_of(path: Path) -> str:
    """Return a Python codec that decodes the whole file.

    A byte order mark decides, else UTF-8 is tried, else charset-normalizer detects the code page.

    Raises:
        UserError: the file is not text, is damaged, or no code page decodes it.
    """
    stat = path.stat()
    return _encoding_of(path, stat.st_size, stat.st_mtime_ns)


def read_text(path: Path) -> str:
    """Read a text file in any encoding, without its byte order mark."""
    return path.read_text(encoding=encoding_of(path))


def is_utf8(encoding: str) -> bool:
    """Return whether the encoding is UTF-8 or a subset, so that no notice is needed."""
    return encoding in ("utf-8", "utf-8-sig", "ascii")


def is_code_page(encoding: str) -> bool:
    """Return whether the encoding was detected from the letters, which can be wrong, so that a notice is due."""
    return not encoding.startswith("utf") and encoding != "ascii"


def code_page_notice(encoding: str) -> str:
    """A sentence for the user about an encoding that was detected from the letters."""
    return f"not UTF-8: read as {encoding}; if letters look wrong, save the file as UTF-8"


@lru_cache(maxsize=100_000)
def _encoding_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    for mark, what in _NO_TEXTS:
        if sample.startswith(mark):
            raise UserError(f"{path} is {what}, not a text file. {_UNPACK.get(what, 'Unpack it first.')}")
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
    found = None if _is_mostly_utf8(path, place) else _code_page(path, sample + _around(path, place))
    if found is not None and found.startswith("cp125") and _is_partly_utf8(path, place):
        raise UserError(
            f"{path} is in two encodings: parts of it are UTF-8, and others, from byte {place:,} on, are {found}, as "
            "when files of different origin are joined. Convert them (`iconv -f cp1252 -t utf-8`) before that."
        )
    if found is None:
        raise UserError(
            f"{path} is UTF-8 text that is damaged near byte {place:,}. Mend or replace the file; "
            "`iconv -c -f utf-8 -t utf-8 FILE > NEW` leaves out what is damaged."
        )
    return found


def _code_page(path: Path, sample: bytes) -> str:
    """Detect one of the code pages in common use from a sample."""
    from charset_normalizer import from_bytes

    if set(sample.decode("cp1252", errors="replace")) - set(map(chr, range(128))) <= _SIGNS:
        likely = ["cp1252"]
    else:
        matches = from_bytes(sample, cp_isolation=_CODE_PAGES)
        best = matches.best()
        western = next((each for each in matches if each.encoding == "cp1252"), None)
        # on few letters the library cannot tell code pages apart; most such files are Western
        is_western = western is not None and best is not None and western.chaos <= best.chaos + 0.02
        likely = ["cp1252"] * is_western + [each.encoding for each in matches]
    found = next((encoding for encoding in likely if _failure(path, encoding) is None), None)
    if found is None:
        raise UserError(
            f"{path} is no UTF-8 text, and its encoding cannot be told. Convert it, such as by "
            "`iconv -f ENCODING -t utf-8 FILE > NEW`."
        )
    return found


def _around(path: Path, place: int) -> bytes:
    """The bytes around a place of a file, unless the sample of its beginning holds them."""
    if place < SAMPLE // 2:
        return b""
    with path.open("rb") as file:
        file.seek(place)
        return file.read(SAMPLE // 2)


def _failure(path: Path, encoding: str) -> int | None:
    """Return the approximate position of the first byte that cannot be decoded; None if all can."""
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
    """Detect UTF-16 without a byte order mark: in most scripts, one byte of each space and punctuation mark is zero."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > max(4, len(sample) / 20) and zeros > 20 * others and _failure(path, encoding) is None:
            return encoding
    raise UserError(f"{path} is no text, or is damaged: it holds NUL characters (zero bytes).")


def _is_mostly_utf8(path: Path, place: int) -> bool:
    """Return whether the text around an invalid byte has enough valid multi-byte characters to be damaged UTF-8."""
    with path.open("rb") as file:
        file.seek(max(0, place - SAMPLE // 2))
        text = file.read(SAMPLE).decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(each > "\x7f" for each in text) - bad
    return good >= 5 * bad


def _is_partly_utf8(path: Path, place: int) -> bool:
    """Return whether a fifth of the letters outside ASCII around an invalid byte are valid multi-byte characters.

    In a code page of single bytes that is so by chance at most once in a while, as in "É»".
    """
    with path.open("rb") as file:
        file.seek(max(0, place - SAMPLE // 2))
        text = file.read(SAMPLE).decode("utf-8", errors="replace")
    bad = text.count("\ufffd")
    good = sum(each > "\x7f" for each in text) - bad
    return good >= max(5, bad / 4)
