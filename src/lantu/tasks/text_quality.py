"""What can be measured of a written text without a reader: variety, repetition, and what is not copied."""

import numpy as np
import regex
from numpy.lib.stride_tricks import sliding_window_view

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"
_LETTER = r"\p{L}\p{M}\p{N}_"  # with the vowel signs of Indic scripts, which `\w` leaves out
_WORD = regex.compile(rf"[{_IDEOGRAPHS}]|(?:(?![{_IDEOGRAPHS}])[{_LETTER}])+|[^{_LETTER}\s]")
"""A run of letters and digits, a punctuation mark, or one character of a script that puts no spaces."""


def words(text: str) -> list[str]:
    """Words, punctuation marks, and single characters of scripts that put no spaces."""
    return _WORD.findall(text)


def measures(text: str, training: str) -> dict[str, float]:
    """Shares between 0 and 1, over words and punctuation marks, so that they compare across tokenizers.

    Args:
        text: what was written, without its prompt.
        training: what the writer learned from.

    Returns:
        distinct_1, distinct_2: how many of the words, and of the pairs, are different ones (Li et al. 2016).
        repetition: how many of the sequences of four words occurred before in the text (Welleck et al. 2020).
        novel_4grams: how many of those sequences do not occur in the training text; 0 is copied. A measure for which
        the text has too few words is left out.
    """
    found_words = words(text)
    numbers = {word: number for number, word in enumerate(dict.fromkeys(found_words), start=1)}
    base = len(numbers) + 1
    written = np.fromiter((numbers[word] for word in found_words), dtype=np.int64)
    found: dict[str, float] = {}
    for n in (1, 2):
        if len(grams := _grams(written, n, base)):
            found[f"distinct_{n}"] = len(np.unique(grams)) / len(grams)
    if len(grams := _grams(written, 4, base)):
        found["repetition"] = 1 - len(np.unique(grams)) / len(grams)
        # words that were not written are all number 0, with which none of our sequences has anything in common
        read = np.fromiter((numbers.get(match[0], 0) for match in _WORD.finditer(training)), dtype=np.int64)
        found["novel_4grams"] = float(np.mean(~np.isin(grams, _grams(read, 4, base))))
    return found


def _grams(numbers: np.ndarray, n: int, base: int) -> np.ndarray:
    """One number for each n in a row; exact below 55,000 different words."""
    if len(numbers) < n:
        return np.empty(0, dtype=np.int64)
    return sliding_window_view(numbers, n) @ base ** np.arange(n)
