"""Extractive question answering: the answer is a span of a given context."""

import json
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader

from lantu.data.batches import loader
from lantu.data.data_module import DataModule
from lantu.data.read_table import read_table
from lantu.data.sources import Raw, table_file
from lantu.data.splitting import SPLITS, completed
from lantu.data.text.qa_windows import Answer, Windowed
from lantu.data.text.vocabulary import Subwords, restored
from lantu.errors import UserError

BEGINS, ENDS, PADS = ("<s>", "[CLS]"), ("</s>", "[SEP]"), ("<pad>", "[PAD]")


class QuestionDataModule(DataModule):
    """Rows of a question, a context and its answer, as in SQuAD (Rajpurkar et al. 2016).

    The answer is a column `answers` with {"text": [...], "answer_start": [...]}, where each is accepted; or a column
    `answer` with its text, and `answer_start` if the text occurs more than once. All questions about one context are in
    one split. Long contexts are cut into windows: see `lantu.data.text.qa_windows.Windowed`.

    Args:
        path: your own table (JSON lines, Parquet, CSV), instead of a source.
        level: wordpiece or bpe.
        vocab_size, min_count: of a learned vocabulary.
        max_length: tokens of a window: question, context and three separators.
        overlap: tokens that consecutive windows share.
        max_question: maximum tokens of a question; longer ones are cut.
        tokenizer: a pretrained tokenizer instead: a tokenizer.json file, a folder with one, or a model of the hub.
        options: of `DataModule`.
    """

    unit = "questions"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        level: str = "wordpiece",
        vocab_size: int = 8000,
        min_count: int = 2,
        max_length: int = 384,
        overlap: int = 128,
        max_question: int = 64,
        tokenizer: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if level not in ("wordpiece", "bpe"):
            raise UserError(f"`data.level={level}`: answers are found in pieces of words: wordpiece or bpe.")
        if source is None and path is None:
            raise UserError("`data.path` must name a table with questions: add `data.path=FILE` to the command.")
        self.source = source or partial(table_file, str(path))
        self.level = level
        self.vocab_size, self.min_count = vocab_size, min_count
        self.max_length, self.overlap, self.max_question = max_length, overlap, max_question
        self.tokenizer = tokenizer

    def read(self) -> None:
        self._origin = raw = self.source()
        rows = raw.rows
        _check_columns(rows, raw.name, ("question", "context"))
        answers = _answers(rows, raw.name)
        found = np.array([bool(each) for each in answers])
        self.report.note(int((~found).sum()), "questions whose answer is not in the context left out")
        rows, split = rows[found].reset_index(drop=True), raw.split[found]
        answers = [each for each in answers if each]
        if not len(rows):
            raise UserError(f"{raw.name}: no question is left: no answer occurs in its context.")
        split = self._divided(rows, split)
        if "vocabulary" not in self.learned:
            self.learned = {"vocabulary": self._learn(rows[split == "train"]).state()}
        for name in SPLITS:
            chosen = np.flatnonzero(split == name)
            if len(chosen):
                part = rows.iloc[chosen]
                self.splits[name] = self._windows(part, [answers[row] for row in chosen])
                content = "\0".join([*part["question"], *part["context"], *(answers[row][0].text for row in chosen)])
                self.fingerprints[name] = blake2b(content.encode(), digest_size=16).hexdigest()
                self.report.sizes[name] = len(chosen)
        windows = sum(len(part.offsets) for part in self.splits.values() if isinstance(part, Windowed))
        pads, _, _ = self._separators()
        self.spec = {
            "kind": "questions",
            "task": "question_answering",
            "vocab_size": self._vocabulary().size,
            "max_length": self.max_length,
            "pad_id": pads,
            "segments": 2,
        }
        self.report.title = f"{raw.name}: {len(rows):,} questions in {windows:,} windows"

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        rows, _ = read_table(path)
        return loader(self.examples_of(rows), batch_size=self.batch_size, workers=0), rows

    def examples_of(self, inputs: pd.DataFrame) -> Windowed:
        _check_columns(inputs, "The table", ("question", "context"))
        return self._windows(inputs.fillna({"question": "", "context": ""}), None)

    def schema(self) -> list[dict[str, str]]:
        return [{"name": "question", "type": "string"}, {"name": "context", "type": "string"}]

    def origin(self) -> dict[str, Any]:
        return {
            "name": self._origin.name,
            "source_type": self._origin.source_type,
            "source": json.dumps(self._origin.source),
            "schema": json.dumps({"mlflow_colspec": [*self.schema(), {"name": "answer", "type": "string"}]}),
        }

    def _divided(self, rows: pd.DataFrame, split: np.ndarray) -> np.ndarray:
        """Split rows (N,) by context, so that no context is in two splits."""
        training = split == "train"
        contexts, of_row = np.unique(rows["context"][training].to_numpy(dtype=str), return_inverse=True)
        known = np.concatenate([np.repeat("train", len(contexts)), split[~training].astype(str)])
        parts = completed(known, self.shares, strata=np.zeros(len(known), dtype=int), seed=self.split_seed)
        divided = split.astype("<U5")
        divided[training] = parts[: len(contexts)][of_row]
        return divided

    def _learn(self, rows: pd.DataFrame) -> Subwords:
        if self.tokenizer is not None:
            return Subwords.loaded(self.tokenizer)
        texts = [*dict.fromkeys(rows["context"]), *rows["question"]]
        return Subwords.of(texts, level=self.level, size=self.vocab_size, min_count=self.min_count)

    def _windows(self, rows: pd.DataFrame, answers: list[list[Answer]] | None) -> Windowed:
        pad_id, begin, end = self._separators()
        return Windowed(
            self._vocabulary().tokenizer,
            rows["question"].astype(str).str.strip().tolist(),
            rows["context"].astype(str).tolist(),
            answers=answers,
            length=self.max_length,
            overlap=self.overlap,
            longest_question=self.max_question,
            pad_id=pad_id,
            ends=(begin, end),
        )

    def _separators(self) -> tuple[int, int, int]:
        """Return the ids of the padding, begin and end tokens."""
        named = self._vocabulary().tokenizer.token_to_id
        numbers = [
            next((n for name in names if (n := named(name)) is not None), None) for names in (PADS, BEGINS, ENDS)
        ]
        if None in numbers:
            lacking = (PADS, BEGINS, ENDS)[numbers.index(None)]
            raise UserError(f"`data.tokenizer={self.tokenizer}` has no token {' or '.join(lacking)}.")
        return tuple(numbers)  # type: ignore[return-value]

    def _vocabulary(self) -> Subwords:
        vocabulary = restored(self.learned["vocabulary"])
        assert isinstance(vocabulary, Subwords)
        return vocabulary


def _answers(rows: pd.DataFrame, name: str) -> list[list[Answer]]:
    """Return each row's answers that occur in its context."""
    if "answers" in rows:
        pairs = [list(zip(each["text"], each["answer_start"], strict=True)) for each in rows["answers"]]
    else:
        _check_columns(rows, name, ("answer",))
        starts = rows["answer_start"] if "answer_start" in rows else [None] * len(rows)
        pairs = [[(text, start)] for text, start in zip(rows["answer"].fillna("").astype(str), starts, strict=True)]
    return [
        [found for text, start in pair if (found := _located(str(text), start, context)) is not None]
        for pair, context in zip(pairs, rows["context"].astype(str), strict=True)
    ]


def _located(text: str, start: Any, context: str) -> Answer | None:
    place = context.find(text) if start is None or pd.isna(start) else int(start)
    return Answer(text, place) if text and place >= 0 and context[place : place + len(text)] == text else None


def _check_columns(rows: pd.DataFrame, name: str, wanted: tuple[str, ...]) -> None:
    for column in wanted:
        if column not in rows:
            raise UserError(f"{name} has no column {column!r}; it has {', '.join(map(str, rows.columns))}.")
