"""How likely words are after others, for speech recognition: counted in transcripts, or read from an ARPA file."""

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from lantu.errors import UserError


class WordModel(Protocol):
    """The words that may be recognised, and how likely each is after those before it."""

    @property
    def known(self) -> frozenset[str]:
        """The words."""
        ...

    @property
    def beginnings(self) -> frozenset[str]:
        """Every beginning of a word, the word itself too."""
        ...

    def log_probability(self, word: str, before: Sequence[str]) -> float:
        """The natural logarithm of the probability of a known word after all words before it in a text."""
        ...


@dataclass(frozen=True)
class Lexicon:
    """The words that may be recognised, and how likely each is after another.

    Probabilities are relative frequencies with absolute discounting, interpolated with the words' own frequencies (Ney
    et al. 1994).
    """

    words: Counter[str]
    pairs: dict[str, Counter[str]]
    """How often each word follows another, "" at the beginning."""

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
        return cls(words, {before: Counter(after) for before, after in pairs.items()})

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        return _beginnings(self.words)

    def log_probability(self, word: str, before: Sequence[str]) -> float:
        """Of a word after the last of the words before."""
        discount = 0.5
        own = self.words[word] / self.words.total()
        after = self.pairs.get(before[-1] if before else "")
        if not after:
            return float(np.log(own))
        seen = after.total()
        return float(np.log(max(after[word] - discount, 0) / seen + discount * len(after) / seen * own))


@dataclass(frozen=True)
class NGrams:
    """Word n-grams with back-off weights (Katz 1987), as KenLM and SRILM write them in the ARPA format."""

    order: int
    table: dict[tuple[str, ...], tuple[float, float]]
    """Logarithms (base 10) of the probability of an n-gram's last word, and of the weight of backing off from it."""

    @classmethod
    def read(cls, path: Path) -> "NGrams":
        """From an ARPA file, which may be compressed (.gz).

        Raises:
            UserError: there is no such file, or it is none of these.
        """
        if not path.is_file():
            raise UserError(f"`task.language_model={path}`: there is no such file.")
        table: dict[tuple[str, ...], tuple[float, float]] = {}
        order = 0
        for number, line in _lines(path):
            if line.startswith("\\"):
                name = line[1:].removesuffix("-grams:")
                order = int(name) if name.isdecimal() else order
                continue
            if not line or not order:
                continue
            try:
                probability, *rest = line.split()
                weight = float(rest[order]) if len(rest) > order else 0.0
                if len(rest) < order:
                    raise ValueError("too few words")
                table[tuple(rest[:order])] = float(probability), weight
            except ValueError as error:
                raise UserError(
                    f"`task.language_model={path}`: line {number} is no {order}-gram of the ARPA format: {line[:60]!r}."
                ) from error
        if not table:
            raise UserError(
                f"`task.language_model={path}` is no ARPA file, which lists n-grams under \\1-grams: and so on. "
                "KenLM's binary files cannot be read; `lmplz` writes the text."
            )
        return cls(max(map(len, table)), table)

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(key[0] for key in self.table if len(key) == 1) - {"<s>", "</s>", "<unk>", "<UNK>"}

    @cached_property
    def beginnings(self) -> frozenset[str]:
        return _beginnings(self.known)

    def log_probability(self, word: str, before: Sequence[str]) -> float:
        """Of a word after the last `order - 1` words before."""
        context = ("<s>", *before)[max(0, len(before) + 2 - self.order) :] if self.order > 1 else ()
        weights = 0.0
        while (*context, word) not in self.table and context:
            weights += self.table.get(context, (0.0, 0.0))[1]
            context = context[1:]
        return math.log(10) * (weights + self.table[(*context, word)][0])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a text file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.strip()
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"`task.language_model={path}` is no text file: {error}.") from error


def _beginnings(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word[:end] for word in words for end in range(len(word) + 1))
