"""From the scores of connectionist temporal classification to text (Graves et al. 2006).

Greedy search takes the likeliest symbol of every frame. Prefix beam search (Hannun et al. 2014) sums over all ways to
align a text, and may be limited to the words of a model of language.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lantu.tasks.word_models import WordModel

BLANK = 0
NEVER = -1e30
"""A log probability of nothing."""


def greedy(best: np.ndarray, characters: Sequence[str]) -> str:
    """The text of the likeliest symbol of each frame (T,): repeats are one, blanks are nothing."""
    change = np.flatnonzero(np.diff(best, prepend=-1))
    return "".join(characters[number - 1] for number in best[change] if number != BLANK)


def beam_search(
    log_probs: np.ndarray, characters: Sequence[str], *, words: WordModel | None = None, beam: int = 16,
    weight: float = 0.5, bonus: float = 1.0,
) -> str:  # fmt: skip
    """The likeliest text.

    Args:
        log_probs: (T, symbols), the blank first.
        characters: the symbols from 1 on, characters or pieces of words; a space parts words.
        words: only words that it knows may occur.
        beam: texts that are followed at a time.
        weight: of the word model's log probability.
        bonus: log probability added for every word, against too few of them.
    """
    # a text and its last symbol: the log probability of ending in a blank, and in that symbol
    beams: dict[tuple[str, int], tuple[float, float]] = {("", BLANK): (0.0, NEVER)}
    language: dict[str, float] = {"": 0.0}
    for frame in log_probs:
        likely = {number for number in np.argsort(frame)[::-1][: beam + 1] if frame[number] > frame.max() - 12}
        likely.add(BLANK)  # the words may allow none of the others
        following: dict[tuple[str, int], list[float]] = defaultdict(lambda: [NEVER, NEVER])
        for key, (blank, sign) in beams.items():
            text, last = key
            both = _sum(blank, sign)
            for number in sorted(likely):
                score = float(frame[number])
                if number == BLANK:
                    following[key][0] = _sum(following[key][0], both + score)
                    continue
                if number == last:
                    following[key][1] = _sum(following[key][1], sign + score)
                    reached = blank
                else:
                    reached = both
                longer = text + characters[number - 1]
                if longer not in language:
                    gain = _gains(text, characters[number - 1], words, weight=weight, bonus=bonus)
                    language[longer] = language[text] + gain if gain is not None else NEVER
                if language[longer] > NEVER:
                    each = following[longer, int(number)]
                    each[1] = _sum(each[1], reached + score)
        kept = sorted(following, key=lambda key: _sum(*following[key]) + language[key[0]], reverse=True)[:beam]
        beams = {key: (following[key][0], following[key][1]) for key in kept}
    totals: dict[str, float] = {}  # a text may have been reached by several divisions into symbols
    for (text, _), scores in beams.items():
        totals[text] = _sum(totals.get(text, NEVER), _sum(*scores))
    return max(totals, key=lambda text: totals[text] + _ended(text, language, words, weight, bonus))


def _gains(text: str, piece: str, words: WordModel | None, *, weight: float, bonus: float) -> float | None:
    """What the word model adds when a text goes on with a piece; None: it must not."""
    total = 0.0
    for character in piece:
        gain = _gain(text, character, words, weight=weight, bonus=bonus)
        if gain is None:
            return None
        total, text = total + gain, text + character
    return total


def _sum(first: float, second: float) -> float:
    """The logarithm of the sum of two probabilities that are given by their logarithms."""
    larger, smaller = (first, second) if first > second else (second, first)
    return larger + math.log1p(math.exp(smaller - larger))


def _gain(text: str, character: str, words: WordModel | None, *, weight: float, bonus: float) -> float | None:
    """What the word model adds when a text goes on with a character; None: it must not."""
    if words is None:
        return 0.0
    *before, word = text.split(" ")
    if character != " ":
        return 0.0 if word + character in words.beginnings else None
    if word not in words.known:
        return None
    return weight * words.log_probability(word, before) + bonus


def _ended(text: str, language: dict[str, float], words: WordModel | None, weight: float, bonus: float) -> float:
    """What the word model says of a text that ends here: its last word has to be one."""
    if words is None or not text or text.endswith(" "):
        return language[text]
    gain = _gain(text, " ", words, weight=weight, bonus=bonus)
    return language[text] + gain if gain is not None else NEVER
