"""Multilingual language modelling: one text for each language, one model for all."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np

from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS
from lantu.data.text.mixtures import Mixture, Stretches
from lantu.data.text.scripts import script_of
from lantu.data.text.token_data_module import TokenDataModule, token_facts
from lantu.data.text.vocabulary import Subwords, Vocabulary, asked_for, check_level, restored
from lantu.errors import UserError

Parts = dict[str, list[str]]
"""The paragraphs of each split."""


class MultilingualDataModule(TokenDataModule):
    """A row for each language with its text. Batches are (x, y, about): see `lantu.data.text.mixtures.Stretches`.

    Each text is split in order, between paragraphs, at the same shares of characters in every language. If the texts
    are translations of each other, test content of one language is in no other's training split, except near the
    borders. A paragraph that repeats exactly, in any language, is kept only in the last of its splits.

    Args:
        language: the column with the languages' names.
        alpha: training samples languages with p ∝ bytes^alpha (Conneau et al. 2020): 1 by size, 0 uniformly.
        shortest: minimum characters of a text; shorter ones are used for training only.
        level: byte or bpe; one vocabulary for all.
        tagged: begin every row with a token that names its language, `<|eng|>`; for bpe.
        seed: of the training draws.
        options: of `TokenDataModule`; `split` gives shares of each text.
    """

    tells_rows = True
    """A batch's third tensor has the language of each row."""

    def __init__(
        self,
        *,
        source: Callable[[], Raw],
        language: str = "language",
        alpha: float = 0.3,
        shortest: int = 1000,
        level: str = "byte",
        tagged: bool = False,
        seed: int = 0,
        **options: Any,
    ) -> None:
        check_level(level, ("byte", "bpe"))
        super().__init__(source=source, level=level, **options)
        if not 0 <= alpha <= 1:
            raise UserError(f"`data.alpha={alpha}` must lie in [0, 1]: 1 draws languages by size, 0 all alike.")
        self.language = language
        if tagged and level == "byte" and self.tokenizer is None:
            raise UserError(
                "`data.tagged=true` gives every language a token of its own, and `data.level=byte` has bytes alone: "
                "add `data.level=bpe`."
            )
        self.alpha = alpha
        self.tagged = tagged
        self.shortest = shortest
        self.seed = seed
        self.languages: list[str] = []
        """Names of the languages, by index; set by `setup`."""
        self.scripts: list[str] = []
        """The script of each language."""

    def read(self) -> None:
        self._origin = raw = self.source()
        for column in (self.text, self.language):
            if column not in raw.rows:
                raise UserError(f"{raw.name} has no column {column!r}; it has {', '.join(raw.rows.columns)}.")
        texts = self._paragraphs(raw)
        self.languages = list(texts)
        self.scripts = [script_of("".join(each)) for each in texts.values()]
        parts = self._parts(list(texts.values()))
        if "vocabulary" not in self.learned:
            self.learned = {"vocabulary": self._learned(parts).state()}
        vocabulary = restored(self.learned["vocabulary"])
        sizes = bytes_of_tokens(vocabulary)
        tags = np.array([vocabulary.encode(tag(each))[0] for each in self.languages]) if self.tagged else None
        kind = np.uint16 if vocabulary.size <= 2**16 else np.uint32
        for name in SPLITS:
            joined = ["\n".join(each[name]) for each in parts]
            if not any(joined):
                continue
            tokens = [each.astype(kind) for each in vocabulary.encode_pieces(joined)]
            self._check_whole(joined, tokens, sizes)
            self.splits[name] = (
                Mixture(tokens, self.context, sizes=sizes, tags=tags, alpha=self.alpha, seed=self.seed)
                if name == "train"
                else Stretches(tokens, self.context, sizes=sizes, tags=tags)
            )
            self.fingerprints[name] = blake2b("\0".join(joined).encode(), digest_size=16).hexdigest()
            self.report.sizes[name] = sum(map(len, tokens))
        measured = self.splits.get("val", self.splits["train"])
        assert isinstance(measured, Stretches)
        self.spec = token_facts(
            vocabulary,
            context=self.context,
            contiguous=False,
            bytes_per_token=float(sizes[measured.tokens].mean()),
        )
        self.report.title = (
            f"{raw.name}: {len(self.languages)} languages in {len(set(self.scripts))} scripts, "
            f"{vocabulary.size:,} different tokens"
        )

    def _paragraphs(self, raw: Raw) -> dict[str, list[str]]:
        """Return each language's lines that contain a letter."""
        texts: dict[str, list[str]] = {}
        empty, wordless = [], 0
        for language, text in zip(raw.rows[self.language].astype(str), raw.rows[self.text].fillna(""), strict=True):
            lines = [line for each in str(text).splitlines() if (line := each.strip())]
            kept = [line for line in lines if any(map(str.isalpha, line))]
            wordless += len(lines) - len(kept)
            if kept:
                texts.setdefault(language, []).extend(kept)
            else:
                empty.append(language)
        self.report.note(len(empty), "languages without text left out", names=empty)
        self.report.note(wordless, "lines without a letter left out")
        if not texts:
            raise UserError(f"{raw.name}: no row of the column {self.text!r} holds text.")
        return texts

    def _parts(self, texts: list[list[str]]) -> list[Parts]:
        short = [name for name, each in zip(self.languages, texts, strict=True) if self._is_short(each)]
        self.report.note(len(short), f"languages under {self.shortest:,} characters are only trained on", names=short)
        parts = [divided(each, {} if self._is_short(each) else self.shares) for each in texts]
        seen: set[str] = set()
        for name, later in (("val", "test"), ("train", "val or test")):
            seen |= {line for each in parts for line in each["test" if name == "val" else "val"]}
            before = sum(len(each[name]) for each in parts)
            for each in parts:
                each[name] = [line for line in each[name] if line not in seen]
            left_out = before - sum(len(each[name]) for each in parts)
            self.report.note(left_out, f"{name} paragraphs that occur in {later} left out")
        return parts

    def _is_short(self, paragraphs: list[str]) -> bool:
        return sum(map(len, paragraphs)) < self.shortest

    def _check_whole(self, texts: list[str], tokens: list[np.ndarray], sizes: np.ndarray) -> None:
        """Check that the tokens cover every byte of the text; otherwise bits per byte would be wrong."""
        if any(sizes[each].sum() != len(text.encode()) for text, each in zip(texts, tokens, strict=True)):
            raise UserError(
                f"`data.tokenizer={self.tokenizer}` drops or changes some of the text, whose bytes are counted here. "
                "Give one of byte pairs, as GPT-2's, or learn one: `data.tokenizer=null data.level=bpe`."
            )

    def _learned(self, parts: list[Parts]) -> Vocabulary:
        lines = (line for each in parts for line in each["train"])
        learned = asked_for(
            lines, tokenizer=self.tokenizer, level=self.level, size=self.vocab_size, min_count=self.min_count
        )
        if isinstance(learned, Subwords) and self.tagged:
            return learned.with_special(map(tag, self.languages))
        return learned


def tag(language: str) -> str:
    """Return the token that names a language."""
    return f"<|{language}|>"


def divided(paragraphs: list[str], shares: dict[str, float]) -> Parts:
    """Split paragraphs in order: train, then val, then test. The start of a paragraph decides its split."""
    lengths = np.array([len(each) for each in paragraphs])
    place = (lengths.cumsum() - lengths) / max(int(lengths.sum()), 1)
    test = round(1 - shares.get("test", 0.0), 9)  # rounded, because 1 - 0.2 - 0.2 is more than 0.6 in floating point
    val = round(test - shares.get("val", 0.0), 9)
    part = np.select([place < val, place < test], ["train", "val"], "test")
    return {name: [each for each, its in zip(paragraphs, part, strict=True) if its == name] for name in SPLITS}


def bytes_of_tokens(vocabulary: Vocabulary) -> np.ndarray:
    """Return the UTF-8 bytes of each token (V,) of a byte or BPE vocabulary; 0 for special tokens."""
    if not isinstance(vocabulary, Subwords):
        return np.ones(vocabulary.size, dtype=np.int64)
    sizes = np.zeros(vocabulary.size, dtype=np.int64)
    special = set(vocabulary.tokenizer.get_added_tokens_decoder())
    for token, number in vocabulary.tokenizer.get_vocab().items():
        if number not in special:
            sizes[number] = len(token)  # byte-level BPE writes one character for each byte
    return sizes
