"""A corpus that need not fit into memory: its texts are read in pieces, and divided in order."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b, file_digest
from pathlib import Path

from lantu.data.encoding import encoding_of, is_utf8

CHUNK = 2**18
"""Characters that are read at once."""
_CUT = re.compile(r"(?<=\S)(?=[ \n]\S)")
"""Before a single space or line's end between words, where tokenizers that cut texts into words always begin a word."""


@dataclass(frozen=True)
class Text:
    """One or more texts, in memory or in files, with a line's end between them."""

    sources: tuple[str | Path, ...]

    @cached_property
    def characters(self) -> int:
        """How many there are; reads the files."""
        return sum(map(len, self.chunks()))

    def chunks(self, begin: int = 0, end: int | None = None) -> Iterator[str]:
        """The characters from `begin` to `end`, a few at a time.

        Raises:
            UserError: a file is no text.
        """
        place = 0
        for chunk in self._all():
            wanted = chunk[max(begin - place, 0) : None if end is None else max(end - place, 0)]
            place += len(chunk)
            if wanted:
                yield wanted
            if end is not None and place >= end:
                return

    def digest(self) -> bytes:
        """Of the content, wherever it lies."""
        whole = blake2b(digest_size=16)
        for source in self.sources:
            if isinstance(source, str):
                whole.update(blake2b(source.encode(), digest_size=16).digest())
            else:
                with source.open("rb") as file:
                    whole.update(file_digest(file, lambda: blake2b(digest_size=16)).digest())
        return whole.digest()

    def _all(self) -> Iterator[str]:
        for number, source in enumerate(self.sources):
            if number:
                yield "\n"
            if isinstance(source, str):
                yield source.removeprefix("\ufeff")  # a byte order mark is no text
                continue
            with source.open(encoding=encoding_of(source)) as file:
                yield from iter(partial(file.read, CHUNK), "")


@dataclass(frozen=True)
class Span:
    """A stretch of a text: the whole of it, unless it lies across the border of two parts."""

    text: Text
    begin: int
    end: int

    def chunks(self) -> Iterator[str]:
        """Its characters, a few at a time."""
        return self.text.chunks(self.begin, self.end)


class Corpus:
    """Documents, each in one of the parts train, val and test.

    Args:
        documents: each a text, or a file with one.
        split: the part of each.
        shares: of "val" and "test", which are cut off the end of the training part where there are none.
        joined: read the documents of a part as one text, with a line's end between them.
    """

    def __init__(
        self, documents: Sequence[str | Path], split: Sequence[str], *, shares: dict[str, float], joined: bool
    ) -> None:
        self.shares = shares
        self.texts: dict[str, list[Text]] = {}
        for name in dict.fromkeys(split):
            mine = tuple(each for each, part in zip(documents, split, strict=True) if part == name)
            self.texts[name] = [Text(mine)] if joined else [Text((each,)) for each in mine]

    def other_encodings(self) -> dict[str, list[Path]]:
        """The files that are not UTF-8, by their encoding; reads the files."""
        found: dict[str, list[Path]] = {}
        for text in (each for texts in self.texts.values() for each in texts):
            for source in text.sources:
                if isinstance(source, Path) and not is_utf8(encoding := encoding_of(source)):
                    found.setdefault(encoding, []).append(source)
        return found

    @cached_property
    def digest(self) -> str:
        """Of the documents' content and how they are divided; reads the files."""
        whole = blake2b(repr(sorted(self.shares.items())).encode(), digest_size=16)
        for name, texts in self.texts.items():
            whole.update(f"{name} {len(texts)}".encode())
            for text in texts:
                whole.update(text.digest())
        return whole.hexdigest()

    @cached_property
    def parts(self) -> dict[str, list[Span]]:
        """What each part is made of, in order; reads the files where a part has to be cut off."""
        parts = {
            name: [Span(text, 0, text.characters) for text in texts if text.characters]
            for name, texts in self.texts.items()
        }
        whole = end = sum(span.end for span in parts["train"])
        for name in ("test", "val"):
            if name not in parts and self.shares[name]:
                begin = end - round(self.shares[name] * whole)
                parts[name] = _between(parts["train"], begin, end)
                end = begin
        parts["train"] = _between(parts["train"], 0, end)
        return parts

    def characters(self, part: str) -> Iterator[str]:
        """All of a part's text, a few characters at a time."""
        for span in self.parts[part]:
            yield from span.chunks()


def _between(spans: list[Span], begin: int, end: int) -> list[Span]:
    """The spans cut to the characters from `begin` to `end` of them all."""
    found, place = [], 0
    for span in spans:
        size = span.end - span.begin
        first, last = max(begin - place, 0), min(end - place, size)
        if first < last:
            found.append(Span(span.text, span.begin + first, span.begin + last))
        place += size
    return found


def pieces(chunks: Iterable[str], *, least: int | None) -> Iterator[str]:
    """The same characters in pieces of at least `least`, cut only between words that one space or line's end divides.

    A text without such a place stays whole, and the last piece may be shorter. None: all in one piece.
    """
    if least is None:
        if whole := "".join(chunks):
            yield whole
        return
    kept = ""
    for chunk in chunks:
        before = len(kept)
        kept += chunk
        begin = 0  # places before `least`, and those in what was kept, have been found to be none
        while found := _CUT.search(kept, max(begin + least, before - 2)):
            yield kept[begin : found.start()]
            begin = found.start()
        kept = kept[begin:]
    if kept:
        yield kept
