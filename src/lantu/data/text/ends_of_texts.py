"""Tokens of the beginnings and ends of texts, without reading megabytes of which no model sees more than a part."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lantu.data.text.vocabulary import Vocabulary

PER_TOKEN = 16
"""Characters that a token has at most in most texts: with fewer tokens than are asked for, more of a text is read."""
ROOM = 1024
_CUT = re.compile(r"(?<=[^\s])[ \n](?=[^\s])")
"""Where one space or line's end divides two words: there a tokenizer begins anew."""


def encode_beginnings(vocabulary: Vocabulary, texts: Sequence[str], most: int) -> list[list[int]]:
    """Token ids of each text as of `vocabulary.encode_all`, of which only the first `most` are to be used."""
    if _is_whole_text_needed(vocabulary):
        return vocabulary.encode_all(texts)
    size = PER_TOKEN * most + ROOM
    found = vocabulary.encode_all([_beginning(text, size) for text in texts])
    for number, text in enumerate(texts):
        reach = size
        while len(found[number]) < most + 2 and reach < len(text):  # a mark may stand at the end
            reach *= 4
            found[number] = vocabulary.encode_all([_beginning(text, reach)])[0]
    return found


def encode_end(vocabulary: Vocabulary, text: str, most: int) -> np.ndarray:
    """The last token ids of a text, at most `most`, as of `vocabulary.encode`."""
    if _is_whole_text_needed(vocabulary):
        return vocabulary.encode(text)[-most:]
    reach = PER_TOKEN * most + ROOM
    while len(found := vocabulary.encode(_end(text, reach))) < most + 2 and reach < len(text):
        reach *= 4
    return found[-most:]


def _beginning(text: str, size: int) -> str:
    """At least so many characters: up to the end of a word, or of twice as many where a word is that long."""
    if len(text) <= 2 * size:
        return text
    cut = _CUT.search(text, size, 2 * size)
    return text[: cut.start() if cut else 2 * size]


def _end(text: str, size: int) -> str:
    if len(text) <= 2 * size:
        return text
    first = len(text) - 2 * size
    cuts = list(_CUT.finditer(text, first, len(text) - size))
    return text[cuts[-1].start() if cuts else first :]


def _is_whole_text_needed(vocabulary: Vocabulary) -> bool:
    """Whether a tokenizer itself cuts or fills texts."""
    tokenizer: Any = getattr(vocabulary, "tokenizer", None)
    return tokenizer is not None and bool(tokenizer.truncation or tokenizer.padding)
