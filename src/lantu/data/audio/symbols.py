"""The symbols of a recogniser: characters, pieces of words (Sennrich et al. 2016), or whole words."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from lantu.errors import UserError


def learned_symbols(texts: Sequence[str], size: int | None) -> list[str]:
    """The symbols of transcripts: their characters; and, up to `size` symbols, pieces of them that occur often.

    A piece lies within a word, and may begin with the space before it.

    Raises:
        UserError: the characters alone are more than `size`.
    """
    characters = sorted(set("".join(texts)))
    if size is None:
        return characters
    if size < len(characters):
        raise UserError(f"`data.byte_pairs={size}`: the transcripts have {len(characters)} characters; ask for more.")
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=characters)
    tokenizer.train_from_iterator(texts, trainer)
    found = sorted(tokenizer.get_vocab().items(), key=lambda each: each[1])
    return [*characters, *(piece for piece, _ in found if len(piece) > 1)]


def whole_words(texts: Sequence[str]) -> list[str]:
    """The words of transcripts, each with the space behind it, so that they join to a text."""
    return sorted({f"{word} " for text in texts for word in text.split()})


def unknown_parts(texts: Sequence[str], symbols: Sequence[str]) -> list[str]:
    """The characters that no symbol stands for, or the words where the symbols are whole words."""
    known = set(symbols)
    if all(map(_is_whole_word, symbols)):
        return sorted({word for text in texts for word in text.split() if f"{word} " not in known})
    return sorted(set("".join(texts)) - known)


def divided(text: str, places: Mapping[str, int]) -> list[str]:
    """A transcript as symbols: whole words, or the earliest learned piece of neighbours first; others are left out.

    Args:
        places: of each symbol among `learned_symbols` or `whole_words`.
    """
    if all(map(_is_whole_word, places)):
        return [f"{word} " for word in text.split() if f"{word} " in places]
    return [part for word in re.findall(r" ?[^ ]+| ", text) for part in _parts(word, places)]


def _is_whole_word(symbol: str) -> bool:
    return len(symbol) > 1 and symbol.endswith(" ")


def _parts(word: str, places: Mapping[str, int]) -> list[str]:
    parts = [sign for sign in word if sign in places]
    while len(parts) > 1:
        joined = [first + second for first, second in pairwise(parts)]
        best = min(range(len(joined)), key=lambda each: places.get(joined[each], len(places)))
        if joined[best] not in places:
            break
        parts[best : best + 2] = [joined[best]]
    return parts
