"""Vocabulary data for masked language models: the mask token, special tokens, word starts."""

from typing import Any

import numpy as np

from lantu.data.text.vocabulary import Subwords, Vocabulary

MASKS = ("<mask>", "[MASK]")
"""Names of the mask token: Lantu's and RoBERTa's, BERT's."""
SPACES = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}\N{LATIN CAPITAL LETTER C WITH DOT ABOVE}\u0109\u2581"
"""How byte-level BPE writes a space, a line break and a tab before a word, and SentencePiece a space."""


def masking_facts(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return spec fields for masking.

    Returns:
        mask_id: the mask token; None if the vocabulary has none (characters, bytes, most GPT tokenizers).
        special_ids: tokens that are not text, including the mask.
        word_starts: for each token one bit, whether it begins a word, in order of the ids, as hexadecimal digits, which
            stay short in a config. Byte-level BPE does not distinguish a word after a line break or an apostrophe from
            the continuation of a word; both count as a continuation.
    """
    if not isinstance(vocabulary, Subwords):
        return {"mask_id": None, "special_ids": [], "word_starts": None}
    tokenizer = vocabulary.tokenizer
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    masks = [number for name in MASKS if (number := tokenizer.token_to_id(name)) is not None]
    starts = np.ones(vocabulary.size, dtype=bool)
    for token, number in tokenizer.get_vocab().items():
        starts[number] = number in special or _begins_a_word(token, type(tokenizer.model).__name__)
    return {
        "mask_id": masks[0] if masks else None,
        "special_ids": sorted(special | set(masks)),
        "word_starts": np.packbits(starts).tobytes().hex(),
    }


def _begins_a_word(token: str, model: str) -> bool:
    if model == "WordLevel":
        return True
    if model == "WordPiece":
        return not token.startswith("##")
    # BPE splits non-letters, such as a comma, from words first
    return token[:1] in SPACES or (token[0].isascii() and not token[0].isalnum())
