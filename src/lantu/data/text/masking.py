"""What a masked language model must know of a vocabulary: the mask, the tokens that are no text, where words begin."""

from typing import Any

import numpy as np

from lantu.data.text.vocabulary import Subwords, Vocabulary

MASKS = ("<mask>", "[MASK]")
"""What tokenizers call the token that hides another: ours and RoBERTa's, BERT's."""
SPACES = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}\N{LATIN CAPITAL LETTER C WITH DOT ABOVE}\u0109\u2581"
"""How byte pairs write a space, a line's end and a tab before a word, and how SentencePiece writes a space."""


def masking_facts(vocabulary: Vocabulary) -> dict[str, Any]:
    """Facts for `spec`.

    Returns:
        mask_id: the token that hides another; None where the vocabulary has none: characters, bytes, most GPTs' own.
        special_ids: tokens that are no text, the mask among them.
        word_starts: whether each token begins a word, a bit each in the order of their numbers, as hexadecimal digits:
            plain text that stays short in a config. Byte pairs do not tell a word after a line's end or an apostrophe
            from the rest of the one before; there both count as one.
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
    # what is no letter, such as a comma, is cut off words before byte pairs are made
    return token[:1] in SPACES or (token[0].isascii() and not token[0].isalnum())
