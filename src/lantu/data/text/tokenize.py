"""A corpus as token numbers: in pieces, with all cores where the tokenizer can use them."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from lantu.data.text.corpus import Corpus, Span, pieces
from lantu.data.text.vocabulary import Vocabulary

PIECE = 2**15
"""Characters that one core is given at once."""
AT_ONCE = 2**23
"""Characters that are shared out among the cores at once: what is in memory of a corpus."""


def tokenised(
    corpus: Corpus, vocabulary: Vocabulary, *, marked: bool
) -> tuple[dict[str, Iterator[np.ndarray]], Callable[[], dict[str, Any]]]:
    """What `lantu.data.text.token_file.cached_tokens` writes of a corpus.

    Args:
        marked: put the token `vocabulary.end` before every document and after the last.

    Returns:
        The tokens of each part, a few at a time, and afterwards facts about each part: `characters`, `bytes` of UTF-8
        and `fingerprint`, a digest of its text.
    """
    facts: dict[str, dict[str, Any]] = {}
    parts = {name: _part(name, spans, vocabulary, facts, marked=marked) for name, spans in corpus.parts.items()}
    return parts, lambda: facts


def _part(
    name: str, spans: list[Span], vocabulary: Vocabulary, facts: dict[str, dict[str, Any]], *, marked: bool
) -> Iterator[np.ndarray]:
    digest = blake2b(digest_size=16)
    found = facts[name] = {"characters": 0, "bytes": 0}

    def counted(chunks: Iterable[str]) -> Iterator[str]:
        for chunk in chunks:
            content = chunk.encode()
            digest.update(content)
            found["characters"] += len(chunk)
            found["bytes"] += len(content)
            yield chunk

    def all_pieces() -> Iterator[str | None]:
        for span in spans:
            if marked and span.begin == 0:
                yield None
            yield from pieces(counted(span.chunks()), least=PIECE if vocabulary.divides else None)
        if marked and spans and spans[-1].end == spans[-1].text.characters:
            yield None

    mark = np.array([vocabulary.end] if marked else [], dtype=np.int64)
    for some in _together(all_pieces()):
        numbers = iter(vocabulary.encode_pieces([piece for piece in some if piece is not None]))
        yield np.concatenate([mark if piece is None else next(numbers) for piece in some])
    found["fingerprint"] = digest.hexdigest()


def _together(all_pieces: Iterator[str | None]) -> Iterator[list[str | None]]:
    """Pieces, as many at a time as hold `AT_ONCE` characters; None is a document's end and counts as one."""
    some: list[str | None] = []
    room = AT_ONCE
    for piece in all_pieces:
        some.append(piece)
        room -= 1 if piece is None else len(piece)
        if room <= 0:
            yield some
            some, room = [], AT_ONCE
    if some:
        yield some
