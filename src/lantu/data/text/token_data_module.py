"""Language modelling: running text as one long memory-mapped row of tokens."""

import json
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from lantu.data.batches import Windows, loader
from lantu.data.data_module import DataModule
from lantu.data.read_table import READERS
from lantu.data.sources import Raw, table_file, text_files
from lantu.data.text import token_file
from lantu.data.text.contiguous import Streams
from lantu.data.text.corpus import Corpus, pieces
from lantu.data.text.masking import masking_facts
from lantu.data.text.tokenize import tokenised
from lantu.data.text.vocabulary import Characters, Vocabulary, asked_for, check_level, different, restored
from lantu.errors import UserError

DOCUMENTS = ("joined", "marked", "apart")
"""How documents are separated: by a line break; by a token; or by a token and without attention across it."""
LEARNED_AT_ONCE = 4096
"""Characters of a piece when a vocabulary is learned."""
MEASURED_AGAINST = 10_000_000
"""Maximum tokens of the training split that generated text is compared with."""


class TokenDataModule(DataModule):
    """A text split in order: the beginning for training, then validation, the end for test.

    Batches are x int64 (N, context) and y, the same shifted by one token. Training windows begin at random positions.
    Tokens are memory-mapped from a file in `cache`, which is written once for each text and vocabulary and can be
    deleted.

    Args:
        source: gives one or more texts.
        path: your own text file, a folder of them, or a table with a column of texts, instead of a source.
        text: the column with the texts; each row is one document.
        documents: joined: separated by a line break; marked: a token before each and after the last, which a network
            learns to generate at an end; apart: marked, and without attention between documents, in networks that know
            `spec.boundary_id`.
        context: tokens of a window.
        contiguous: read the text in order as `batch_size` streams, so that each row of a batch continues the same row
            of the batch before; for recurrent networks that carry their state.
        level: char, byte, bpe, word or wordpiece.
        vocab_size, min_count: of a learned vocabulary, for bpe, word and wordpiece.
        tokenizer: a pretrained tokenizer instead: a tokenizer.json file, a folder with one, or a model of the hub.
        options: of `DataModule`; `split` gives shares of the text.
    """

    unit = "tokens"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        text: str = "text",
        documents: str = "joined",
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
        if documents not in DOCUMENTS:
            raise UserError(f"`data.documents={documents}`: documents are {', '.join(DOCUMENTS)}.")
        self.source = source or _own_texts(path)
        self.text = text
        self.documents = documents
        self.context = context
        self.contiguous = contiguous
        self.level = level
        self._bytes_per_token: dict[str, float] = {}
        self.vocab_size = vocab_size
        self.min_count = min_count
        self.tokenizer = tokenizer

    def read(self) -> None:
        self._origin = raw = self.source()
        corpus = self._corpus(raw)
        for encoding, paths in corpus.other_encodings().items():
            self.report.note(len(paths), f"texts read as {encoding}, not UTF-8", names=[str(path) for path in paths])
        if "vocabulary" not in self.learned:
            found = self._known(corpus)
            self.learned = {"vocabulary": found["vocabulary"]}
            self.report.note(found["strange"], "characters that the training part lacks share one token")
        vocabulary = self._vocabulary()
        if self._marked and vocabulary.end is None:
            raise UserError(
                f"`data.documents={self.documents}` puts a token between documents, and `data.tokenizer="
                f"{self.tokenizer}` has none for it. Type `data.documents=joined`."
            )
        state = json.dumps(vocabulary.state(), sort_keys=True)
        name = _digest(corpus.digest, state, str(self._marked))
        file = token_file.cached_tokens(
            self.cache / "tokens" / f"{name}.safetensors",
            partial(tokenised, corpus, vocabulary, marked=self._marked),
            size=vocabulary.size,
        )
        for part, tokens in file.parts.items():
            if len(tokens) <= self.context:
                raise UserError(
                    f"The {part} part of {raw.name} has {len(tokens)} tokens, fewer than `data.context={self.context}` "
                    "and one to predict. Give more text, a smaller context, or a larger share in `data.split`."
                )
            if self.contiguous:
                self.splits[part] = Streams(tokens, self.context, rows=self.batch_size)
            else:
                self.splits[part] = Windows(tokens, self.context, shifting=part == "train")
            self.fingerprints[part] = file.facts[part]["fingerprint"]
            self.report.sizes[part] = len(tokens)
            self._bytes_per_token[part] = file.facts[part]["bytes"] / len(tokens)
        measured = "val" if "val" in file.parts else "train"
        self.spec = token_facts(
            vocabulary,
            context=self.context,
            contiguous=self.contiguous,
            bytes_per_token=self._bytes_per_token[measured],
            end_id=vocabulary.end if self._marked else None,
            apart=self.documents == "apart",
        )
        characters = sum(each["characters"] for each in file.facts.values())
        self.report.title = f"{raw.name}: {characters:,} characters, {vocabulary.size:,} different tokens"

    def encode(self, text: str) -> np.ndarray:
        """Return token ids (T,) of a text.

        Raises:
            UserError: the vocabulary lacks a character.
        """
        return self._vocabulary().encode(text)

    def decode(self, tokens: Any) -> str:
        """Decode token ids to text."""
        return self._vocabulary().decode([int(token) for token in tokens])

    def bytes_per_token(self, split: str) -> float | None:
        return self._bytes_per_token.get(split)

    def training_text(self) -> str:
        """Decode the training split, at most its first ten million tokens."""
        split: Any = self.splits["train"]
        return self.decode(split.tokens[:MEASURED_AGAINST])

    def origin(self) -> dict[str, Any]:
        return {
            "name": self._origin.name,
            "source_type": self._origin.source_type,
            "source": json.dumps(self._origin.source),
            "schema": json.dumps({"mlflow_colspec": self.schema()}),
        }

    def schema(self) -> list[dict[str, str]]:
        return [{"name": self.text, "type": "string"}]

    def input_signature(self) -> Any:
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("string", "prompt")])

    def batches_done(self, batches: int, *, batch_size: int) -> int:
        if self.contiguous and batch_size != self.batch_size:
            raise UserError(
                f"`data.batch_size={self.batch_size}`: the checkpoint lies inside an epoch that reads the text as "
                f"{batch_size} streams. `data.batch_size={batch_size}` goes on from it."
            )
        return super().batches_done(batches, batch_size=batch_size)

    def why_not_cut(self) -> str:
        return "`data.contiguous=true` reads the text as one stream a row of the batch" if self.contiguous else ""

    def _batches(self, split: str, *, training: bool = False) -> Any:
        streams = self.splits.get(split)
        if isinstance(streams, Streams) and not training:  # on every rank in full: a share would break streams
            return loader(streams, batch_size=streams.rows, workers=self._workers())
        return super()._batches(split, training=training)

    def _rows(self, split: str) -> int:
        streams = self.splits[split]
        return streams.rows if isinstance(streams, Streams) else self.batch_size

    def _order(self, split: str) -> dict[str, Any]:
        order = super()._order(split)
        return {**order, "shuffle": False} if self.contiguous else order  # each row continues that of the batch before

    @property
    def _marked(self) -> bool:
        return self.documents != "joined"

    def _corpus(self, raw: Raw) -> Corpus:
        if self.text not in raw.rows:
            raise UserError(f"`data.text={self.text}`: {raw.name} has the columns {', '.join(raw.rows.columns)}.")
        column = raw.rows[self.text]
        there = column.notna().to_numpy()
        self.report.note(int((~there).sum()), "rows without text left out")
        documents = [each if isinstance(each, Path) else str(each) for each in column[there]]
        return Corpus(documents, raw.split[there].tolist(), shares=self.shares, joined=not self._marked)

    def _known(self, corpus: Corpus) -> dict[str, Any]:
        """Return the vocabulary's state and the number of unknown characters, from the cache if possible."""
        if self.tokenizer is not None or self.level == "byte":  # nothing to learn, so nothing to cache
            return self._learn(corpus)
        name = _digest(corpus.digest, self.level, str((self.vocab_size, self.min_count, self._marked)))
        return token_file.cached_plain(self.cache / "tokens" / f"{name}.json", partial(self._learn, corpus))

    def _learn(self, corpus: Corpus) -> dict[str, Any]:
        text = corpus.characters("train")
        if self.level == "char" and self.tokenizer is None:
            known = different(text)
            strange = set(different(each for part in corpus.parts for each in corpus.characters(part))) - set(known)
            learned: Vocabulary = Characters(known, unknown=bool(strange), end=self._marked)
            return {"vocabulary": learned.state(), "strange": len(strange)}
        learned = asked_for(
            pieces(text, least=LEARNED_AT_ONCE), tokenizer=self.tokenizer, level=self.level, size=self.vocab_size,
            min_count=self.min_count, end=self._marked,
        )  # fmt: skip
        return {"vocabulary": learned.state(), "strange": 0}

    def _vocabulary(self) -> Vocabulary:
        if "vocabulary" not in self.learned:
            self._read_once()
        return restored(self.learned["vocabulary"])


def _own_texts(path: str | None) -> Callable[[], Raw]:
    if path is None:
        raise UserError("`data.path` must name a text file or a folder of them: add `data.path=...` to the command.")
    return partial(table_file if Path(path).suffix.lower() in READERS else text_files, path)


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def token_facts(
    vocabulary: Vocabulary,
    *,
    context: int,
    contiguous: bool,
    bytes_per_token: float,
    end_id: int | None = None,
    apart: bool = False,
) -> dict[str, Any]:
    """Return the `spec` of running text, as declared in conf/spec/tokens.yaml."""
    return {
        "kind": "tokens",
        "vocab_size": vocabulary.size,
        "outputs": vocabulary.size,
        "context": context,
        "places": context,
        "pad_id": None,
        "end_id": end_id,
        "boundary_id": end_id if apart else None,
        "per_token": True,
        "contiguous": contiguous,
        "bytes_per_token": bytes_per_token,
        **masking_facts(vocabulary),
    }
