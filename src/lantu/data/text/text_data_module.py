"""Text classification and regression: sentences, questions, reviews."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.batches import Examples, loader
from lantu.data.encoding import read_text
from lantu.data.read_table import read_table
from lantu.data.sources import Raw, table_file
from lantu.data.supervised import SupervisedDataModule, linear_model
from lantu.data.text.ends_of_texts import encode_beginnings
from lantu.data.text.masking import masking_facts
from lantu.data.text.vocabulary import UNKNOWN, Vocabulary, asked_for, check_level, restored
from lantu.errors import UserError
from lantu.notices import warn_once

PAD_ID = 0
LONGEST = 256
"""Default maximum length of a text in tokens."""


class TextDataModule(SupervisedDataModule):
    """Texts as token ids, with a vocabulary learned on the training split.

    Batches are x int64 (N, L), padded on the right with 0 to the longest text of the batch, and the target.

    Args:
        path: your own table (CSV, Parquet, JSON lines), instead of a source.
        text: the column with the texts.
        level: word, bpe, wordpiece or char.
        vocab_size: maximum size of a learned vocabulary.
        min_count: minimum number of occurrences of a token.
        max_length: maximum tokens of a text, longer ones are cut; None: the longest training text, at most 256.
        tokenizer: a pretrained tokenizer instead: a tokenizer.json file, a folder with one, or a model of the hub.
        options: of `SupervisedDataModule`.
    """

    unit = "texts"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        text: str = "text",
        level: str = "word",
        vocab_size: int = 20_000,
        min_count: int = 2,
        max_length: int | None = None,
        tokenizer: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source=source or _own_file(path), **options)
        check_level(level, ("word", "bpe", "wordpiece", "char"))
        if max_length is not None and max_length < 1:
            raise UserError(f"`data.max_length={max_length}` must be at least 1 token.")
        self.text = text
        self.level = level
        self.vocab_size = vocab_size
        self.min_count = min_count
        self.max_length = max_length
        self.tokenizer = tokenizer

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        if self.text not in rows:
            raise UserError(f"`data.text={self.text}`: {raw.name} has the columns {', '.join(rows.columns)}.")
        filled = rows[self.text].astype("string").str.strip().fillna("").ne("").to_numpy(dtype=bool)
        self.report.note(int((~filled).sum()), "rows without text left out")
        return filled

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        return super().hashes(rows[[self.text, self.target]].astype(str))

    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        texts = rows[self.text].astype(str).tolist()
        vocabulary = asked_for(
            texts, tokenizer=self.tokenizer, level=self.level, size=self.vocab_size, min_count=self.min_count
        )
        lengths = np.array([len(tokens) for tokens in vocabulary.encode_all(texts)])
        longest = self.max_length or min(int(lengths.max()), LONGEST)
        self.report.note(int((lengths > longest).sum()), f"training texts cut after {longest} tokens")
        return {"vocabulary": vocabulary.state(), "max_length": longest}

    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        longest = self.learned["max_length"]
        encoded = encode_beginnings(self._vocabulary(), rows[self.text].astype(str).tolist(), longest)
        padded = np.full((len(encoded), longest), PAD_ID, dtype=np.int64)
        for row, tokens in zip(padded, encoded, strict=True):
            row[: min(len(tokens), longest)] = tokens[:longest]
        return Examples(torch.from_numpy(padded), y, finish=without_common_padding)

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "text",
            "vocab_size": self._vocabulary().size,
            "max_length": self.learned["max_length"],
            "places": self.learned["max_length"],
            "pad_id": PAD_ID,
            "per_token": False,
            **masking_facts(self._vocabulary()),
        }

    def token_names(self, tokens: Any) -> list[str]:
        vocabulary = self._vocabulary()
        return [vocabulary.decode([int(each)]) or "?" for each in tokens]

    def unknown_token(self) -> int | None:
        tokenizer = getattr(self._vocabulary(), "tokenizer", None)
        if tokenizer is None:
            return None
        return next((found for name in (UNKNOWN, "[UNK]") if (found := tokenizer.token_to_id(name)) is not None), None)

    def schema(self) -> list[dict[str, str]]:
        return [{"name": self.text, "type": "string"}]

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the token counts of each text, (N, vocabulary), sparse."""
        from scipy.sparse import csr_matrix

        x, y = self.splits[split].__getitems__(rows.tolist())  # type: ignore[attr-defined]
        tokens = x.numpy()
        texts, ids = np.repeat(np.arange(len(tokens)), tokens.shape[1]), tokens.reshape(-1)
        real = ids != PAD_ID
        ones = np.ones(int(real.sum()), dtype=np.float32)
        counts = csr_matrix((ones, (texts[real], ids[real])), shape=(len(tokens), self._vocabulary().size))
        return counts, y.numpy().reshape(-1)

    def classical_model(self, *, classifies: bool, shape: tuple[int, int]) -> tuple[str, Any]:
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.pipeline import make_pipeline

        name, model = linear_model(classifies=classifies)
        return f"{name} regression on TF-IDF weights of the tokens", make_pipeline(TfidfTransformer(), model)

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        if path.suffix == ".txt" and path.is_file():
            lines = read_text(path).splitlines()
            rows = pd.DataFrame({self.text: [line for line in lines if line.strip()]})
        else:
            rows, _ = read_table(path)
        return loader(self.examples_of(rows), batch_size=self.batch_size, workers=0), rows

    def examples_of(self, inputs: pd.DataFrame) -> Examples:
        if self.text not in inputs:
            raise UserError(f"The table lacks the column {self.text!r} with the texts.")
        rows = inputs.assign(**{self.text: inputs[self.text].fillna("")})
        examples = self.prepared(rows, None)
        self._say_unknown(rows[self.text], np.asarray(examples.x))
        return examples

    def _say_unknown(self, texts: pd.Series, x: np.ndarray) -> None:
        """Say how many texts, as token ids (N, L), have no token that training knew."""
        tokenizer = getattr(self._vocabulary(), "tokenizer", None)
        special = () if tokenizer is None else tokenizer.get_added_tokens_decoder()
        unread = np.isin(x, [PAD_ID, self.unknown_token() or PAD_ID, *special]).all(axis=1)
        if unread.any():
            shown = str(texts[unread].iloc[0]).strip()[:40]
            warn_once(
                f"`{self.text}`: {int(unread.sum()):,} of {len(x):,} values hold nothing that training knew, such as "
                f"{shown!r}; their answers say nothing of them"
            )

    def _vocabulary(self) -> Vocabulary:
        return restored(self.learned["vocabulary"])


def without_common_padding(x: Tensor) -> Tensor:
    """Cut a batch (N, L) after its longest text, leaving at least one token."""
    used = (x != PAD_ID).any(dim=0).nonzero()
    return x[:, : int(used[-1]) + 1] if len(used) else x[:, :1]


def _own_file(path: str | None) -> Callable[[], Raw]:
    if path is None:
        raise UserError("`data.path` must name a table with texts: add `data.path=FILE` to the command.")
    return partial(table_file, path, as_text=True)
