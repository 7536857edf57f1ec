"""Running text to learn to write: one long row of tokens."""

import json
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np

from lantu.data.batches import Windows, loader
from lantu.data.masking import masking_facts
from lantu.data.module import DataModule
from lantu.data.sources import Raw, text_files
from lantu.data.streams import Streams
from lantu.data.vocabulary import Bytes, Characters, Subwords, Vocabulary, check_level, restored
from lantu.errors import UserError


class TokenDataModule(DataModule):
    """A text divided in order: its beginning trains, then comes the validation part, its end tests.

    Batches are x int64 (N, context) and y the same one token on. Training stretches begin at random places.

    Args:
        source: gives one or more texts.
        path: a text file of your own, or a folder of them, instead of a source.
        text: the column with the texts.
        context: tokens of a stretch.
        contiguous: read the text in order as `batch_size` streams, so that a batch's rows go on where they left off in
            the one before; for recurrent networks that carry their state.
        level: char, byte, bpe, word or wordpiece.
        vocab_size, min_count: of a vocabulary that is learned, for bpe, word and wordpiece.
        tokenizer: one to load instead: a tokenizer.json file, a folder with one, or a model of the hub.
        options: of `DataModule`; `split` gives shares of the text.
    """

    unit = "tokens"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        text: str = "text",
        context: int = 64,
        contiguous: bool = False,
        level: str = "char",
        vocab_size: int = 4096,
        min_count: int = 2,
        tokenizer: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_level(level)
        if context < 1:
            raise UserError(f"`data.context={context}` must be at least 1 token.")
        self.source = source or _own_texts(path)
        self.text = text
        self.context = context
        self.contiguous = contiguous
        self.level = level
        self.vocab_size = vocab_size
        self.min_count = min_count
        self.tokenizer = tokenizer

    def read(self) -> None:
        self._origin = raw = self.source()
        if self.text not in raw.rows:
            raise UserError(f"`data.text={self.text}`: {raw.name} has the columns {', '.join(raw.rows.columns)}.")
        parts = self._divided(raw)
        if "vocabulary" not in self.learned:
            self.learned = {"vocabulary": self._learn(parts).state()}
        vocabulary = restored(self.learned["vocabulary"])
        kind = np.uint16 if vocabulary.size <= 2**16 else np.uint32
        for name, text in parts.items():
            tokens = vocabulary.encode(text).astype(kind)
            if len(tokens) <= self.context:
                raise UserError(
                    f"The {name} part of {raw.name} has {len(tokens)} tokens, fewer than `data.context={self.context}` "
                    "and one to predict. Give more text, a smaller context, or a larger share in `data.split`."
                )
            if self.contiguous:
                self.splits[name] = Streams(tokens, self.context, rows=self.batch_size)
            else:
                self.splits[name] = Windows(tokens, self.context, shifting=name == "train")
            self.fingerprints[name] = blake2b(text.encode(), digest_size=16).hexdigest()
            self.report.sizes[name] = len(tokens)
        measured = "val" if "val" in parts else "train"
        self.spec = token_facts(
            vocabulary,
            context=self.context,
            contiguous=self.contiguous,
            bytes_per_token=len(parts[measured].encode()) / self.report.sizes[measured],
        )
        characters = sum(map(len, parts.values()))
        self.report.title = f"{raw.name}: {characters:,} characters, {vocabulary.size:,} different tokens"

    def encode(self, text: str) -> np.ndarray:
        """Token numbers (T,) of a text.

        Raises:
            UserError: a character that the vocabulary lacks.
        """
        return self._vocabulary().encode(text)

    def decode(self, tokens: Any) -> str:
        """The text of token numbers."""
        return self._vocabulary().decode([int(token) for token in tokens])

    def training_text(self) -> str:
        """The training part as its tokens tell it."""
        split: Any = self.splits["train"]
        return self.decode(split.tokens)

    def origin(self) -> dict[str, Any]:
        return {
            "name": self._origin.name,
            "source_type": self._origin.source_type,
            "source": json.dumps(self._origin.source),
            "schema": json.dumps({"mlflow_colspec": self.schema()}),
        }

    def schema(self) -> list[dict[str, str]]:
        return [{"name": self.text, "type": "string"}]

    def batches_done(self, batches: int, *, batch_size: int) -> int:
        if self.contiguous and batch_size != self.batch_size:
            raise UserError(
                f"`data.batch_size={self.batch_size}`: the checkpoint lies inside an epoch that reads the text as "
                f"{batch_size} streams. `data.batch_size={batch_size}` goes on from it."
            )
        return super().batches_done(batches, batch_size=batch_size)

    def _batches(self, split: str, *, training: bool = False) -> Any:
        streams = self.splits.get(split)
        if isinstance(streams, Streams) and not training:  # every rank measures all of it: a share would tear streams
            return loader(streams, batch_size=streams.rows, workers=self._workers())
        return super()._batches(split, training=training)

    def _rows(self, split: str) -> int:
        streams = self.splits[split]
        return streams.rows if isinstance(streams, Streams) else self.batch_size

    def _order(self, split: str) -> dict[str, Any]:
        order = super()._order(split)
        return {**order, "shuffle": False} if self.contiguous else order  # a row goes on where it left off

    def _divided(self, raw: Raw) -> dict[str, str]:
        """The text of each part: as the source divides it, and cut off its end where the source has no such part."""
        parts = {name: "\n".join(raw.rows[self.text][raw.split == name]) for name in map(str, dict.fromkeys(raw.split))}
        whole = parts["train"]
        end = len(whole)
        for name in ("test", "val"):
            if name not in parts and self.shares[name]:
                begin = end - round(self.shares[name] * len(whole))
                parts[name] = whole[begin:end]
                end = begin
        parts["train"] = whole[:end]
        return parts

    def _learn(self, parts: dict[str, str]) -> Vocabulary:
        if self.tokenizer is not None:
            return Subwords.loaded(self.tokenizer)
        if self.level == "byte":
            return Bytes()
        if self.level == "char":
            known = Characters.of(parts["train"])
            strange = set("".join(parts.values())) - set(known.characters)
            self.report.note(len(strange), "characters that the training part lacks share one token")
            return Characters(known.characters, unknown=bool(strange))
        lines = parts["train"].splitlines(keepends=True)
        return Subwords.of(lines, level=self.level, size=self.vocab_size, min_count=self.min_count)

    def _vocabulary(self) -> Vocabulary:
        if "vocabulary" not in self.learned:
            self._read_once()
        return restored(self.learned["vocabulary"])


def _own_texts(path: str | None) -> Callable[[], Raw]:
    if path is None:
        raise UserError("`data.path` must name a text file or a folder of them: add `data.path=...` to the command.")
    return partial(text_files, path)


def token_facts(vocabulary: Vocabulary, *, context: int, contiguous: bool, bytes_per_token: float) -> dict[str, Any]:
    """The `spec` of running text, as conf/spec/tokens.yaml announces it."""
    return {
        "kind": "tokens",
        "vocab_size": vocabulary.size,
        "outputs": vocabulary.size,
        "context": context,
        "places": context,
        "pad_id": None,
        "per_token": True,
        "contiguous": contiguous,
        "bytes_per_token": bytes_per_token,
        **masking_facts(vocabulary),
    }
