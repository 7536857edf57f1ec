"""From the scores of connectionist temporal classification to text (Graves et al. 2006).

Greedy search takes the likeliest symbol of every frame. Prefix beam search (Hannun et al. 2014) sums over all ways to
align a text, and may be limited to the words of a lexicon, scored by a word bigram model.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

BLANK = 0
NEVER = -1e30
"""A log probability of nothing."""


def greedy(best: np.ndarray, characters: Sequence[str]) -> str:
    """The text of the likeliest symbol of each frame (T,): repeats are one, blanks are nothing."""
    change = np.flatnonzero(np.diff(best, prepend=-1))
    return "".join(characters[number - 1] for number in best[change] if number != BLANK)


@dataclass(frozen=True)
class Lexicon:
    """The words that may be recognised, and how likely each is after another.

    Probabilities are relative frequencies with absolute discounting, interpolated with the words' own frequencies (Ney
    et al. 1994).
    """

    words: Counter[str]
    pairs: dict[str, Counter[str]]
    """How often each word follows another, "" at the beginning."""
    beginnings: set[str]
    """Every beginning of a word."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Lexicon":
        """The words of texts."""
        pairs: dict[str, Counter[str]] = defaultdict(Counter)
        for text in texts:
            for before, word in pairwise(["", *text.split()]):
                pairs[before][word] += 1
        return cls.from_pairs(pairs)

    @classmethod
    def from_pairs(cls, pairs: Mapping[str, Mapping[str, int]]) -> "Lexicon":
        """From how often each word follows another, "" at the beginning."""
        words: Counter[str] = Counter()
        for after in pairs.values():
            words.update(after)
        beginnings = {word[:end] for word in words for end in range(len(word) + 1)}
        return cls(words, {before: Counter(after) for before, after in pairs.items()}, beginnings)

    def log_probability(self, word: str, before: str) -> float:
        """Of a word after another, "" at the beginning."""
        discount = 0.5
        own = self.words[word] / self.words.total()
        after = self.pairs.get(before)
        if not after:
            return float(np.log(own))
        seen = after.total()
        return float(np.log(max(after[word] - discount, 0) / seen + discount * len(after) / seen * own))


def beam_search(
    log_probs: np.ndarray, characters: Sequence[str], *, lexicon: Lexicon | None = None, beam: int = 16,
    weight: float = 0.5, bonus: float = 1.0,
) -> str:  # fmt: skip
    """The likeliest text.

    Args:
        log_probs: (T, symbols), the blank first.
        characters: of the symbols from 1 on; a space parts words.
        lexicon: only its words may occur.
        beam: texts that are followed at a time.
        weight: of the word model's log probability.
        bonus: log probability added for every word, against too few of them.
    """
    beams: dict[str, tuple[float, float]] = {
        "": (0.0, NEVER)
    }  # text: log probability ending in a blank, in its last sign
    language: dict[str, float] = {"": 0.0}
    for frame in log_probs:
        likely = {number for number in np.argsort(frame)[::-1][: beam + 1] if frame[number] > frame.max() - 12}
        likely.add(BLANK)  # a lexicon may allow none of the others
        following: dict[str, list[float]] = defaultdict(lambda: [NEVER, NEVER])
        for text, (blank, sign) in beams.items():
            both = _sum(blank, sign)
            for number in sorted(likely):
                score = float(frame[number])
                if number == BLANK:
                    following[text][0] = _sum(following[text][0], both + score)
                    continue
                character = characters[number - 1]
                if text[-1:] == character:
                    following[text][1] = _sum(following[text][1], sign + score)
                    reached = blank
                else:
                    reached = both
                longer = text + character
                if longer not in language:
                    gain = _gain(text, character, lexicon, weight=weight, bonus=bonus)
                    language[longer] = language[text] + gain if gain is not None else NEVER
                if language[longer] > NEVER:
                    following[longer][1] = _sum(following[longer][1], reached + score)
        kept = sorted(following, key=lambda text: _sum(*following[text]) + language[text], reverse=True)[:beam]
        beams = {text: (following[text][0], following[text][1]) for text in kept}
    return max(beams, key=lambda text: _sum(*beams[text]) + _ended(text, language, lexicon, weight, bonus))


def _sum(first: float, second: float) -> float:
    """The logarithm of the sum of two probabilities that are given by their logarithms."""
    return float(np.logaddexp(first, second))


def _gain(text: str, character: str, lexicon: Lexicon | None, *, weight: float, bonus: float) -> float | None:
    """What the word model adds when a text goes on with a character; None: it must not."""
    if lexicon is None:
        return 0.0
    *before, word = text.split(" ")
    if character != " ":
        return 0.0 if word + character in lexicon.beginnings else None
    if word not in lexicon.words:
        return None
    return weight * lexicon.log_probability(word, before[-1] if before else "") + bonus


def _ended(text: str, language: dict[str, float], lexicon: Lexicon | None, weight: float, bonus: float) -> float:
    """What the word model says of a text that ends here: its last word has to be one."""
    if lexicon is None or not text or text.endswith(" "):
        return language[text]
    gain = _gain(text, " ", lexicon, weight=weight, bonus=bonus)
    return language[text] + gain if gain is not None else NEVER
