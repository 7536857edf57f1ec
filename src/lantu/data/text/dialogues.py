"""Question-answer pairs for a language model that generates the answer to a question."""

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lantu.data.sources import Raw, table_file
from lantu.data.splitting import SPLITS
from lantu.data.text.dialogue_split import held_out_questions, normalised
from lantu.data.text.ends_of_texts import encode_end
from lantu.data.text.token_data_module import TokenDataModule, token_facts
from lantu.data.text.vocabulary import Vocabulary, asked_for, check_level
from lantu.errors import UserError
from lantu.ignore_index import NOT_ASKED

TURN = "\n"
"""Ends each question and each answer."""


class Turns(Dataset):
    """Token rows of question and answer. Only the answer's tokens are targets.

    Batches are x int64 (N, T), padded with 0, and y, the same shifted by one token and -100 outside the answers.

    Args:
        questions, answers: token ids of each pair, with the end token.
        context: maximum context length of the network; longer answers are cut.
    """

    def __init__(self, questions: list[list[int]], answers: list[list[int]], context: int) -> None:
        pairs = [(question + answer)[: context + 1] for question, answer in zip(questions, answers, strict=True)]
        self.ends = np.array([len(pair) for pair in pairs]).cumsum()
        self.tokens = np.array([token for pair in pairs for token in pair], dtype=np.int64)
        self.asked = np.array([len(question) for question in questions])

    def __len__(self) -> int:
        return len(self.ends)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        rows = np.asarray(indices)
        begins = np.where(rows > 0, self.ends[rows - 1], 0)
        lengths = self.ends[rows] - begins
        places = np.arange(lengths.max())
        tokens = self.tokens[np.minimum(begins[:, None] + places, len(self.tokens) - 1)]
        inside = places < lengths[:, None]
        x = np.where(inside, tokens, 0)[:, :-1]
        y = np.where(inside & (places >= self.asked[rows][:, None]), tokens, NOT_ASKED)[:, 1:]
        return torch.from_numpy(x), torch.from_numpy(y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]


class DialogueDataModule(TokenDataModule):
    """Question-answer pairs. The loss covers the answer's tokens only; batches are those of `Turns`.

    `held_out_questions` splits the data: similar questions stay in one split, whatever their answers. Duplicate pairs
    within a split are dropped. `references` holds the accepted answers to each question.

    Args:
        path: your own table (CSV, Parquet, JSON lines), instead of a source.
        question, answer: the columns.
        language: a column to report scores by; None: none.
        alike: trigram similarity from which questions stay together; see `held_out_questions`.
        level: bpe or byte.
        context: maximum tokens of a question and its answer. A longer question is cut at its start to half of that.
        options: of `TokenDataModule`; `split` gives shares of the distinct questions.
    """

    unit = "answers"
    stops = (TURN,)

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        question: str = "question",
        answer: str = "answer",
        language: str | None = None,
        alike: float | None = 0.7,
        level: str = "bpe",
        context: int = 128,
        **options: Any,
    ) -> None:
        check_level(level, ("bpe", "byte"))
        if source is None and path is None:
            raise UserError("`data.path` must name a table with dialogues: add `data.path=FILE` to the command.")
        super().__init__(source=source or partial(table_file, str(path)), level=level, context=context, **options)
        if context < 4:
            raise UserError(f"`data.context={context}`: a question and its answer need at least 4 tokens.")
        self.question, self.answer, self.language = question, answer, language
        self.alike = alike
        self.references: dict[str, pd.DataFrame] = {}
        """The distinct questions of each split: question, answers (a list), language; set by `setup`."""

    def read(self) -> None:
        self._origin = raw = held_out_questions(
            self.source, question=self.question, alike=self.alike, split=self.shares, split_seed=self.split_seed
        )
        for column in (self.answer, *([self.language] if self.language else [])):
            if column not in raw.rows:
                raise UserError(f"{raw.name} has no column {column!r}; it has {', '.join(raw.rows.columns)}.")
        rows = self._cleaned(raw)
        if not (rows["part"] == "train").any():
            raise UserError(f"{raw.name} has no pair of a question and an answer left to train on.")
        if "vocabulary" not in self.learned:
            training = rows[rows["part"] == "train"]
            self.learned = {"vocabulary": self._learned([*training["question"], *training["answer"]]).state()}
        vocabulary = self._vocabulary()
        if TURN not in vocabulary.decode(vocabulary.encode(f"a{TURN}a")):
            raise UserError(
                f"`data.tokenizer={self.tokenizer}` does not keep the line end that stands between a question and its "
                "answer. Leave `data.tokenizer` out, or name one over bytes, such as GPT-2's."
            )
        for name in SPLITS:
            part = rows[rows["part"] == name]
            if len(part):
                self.splits[name] = self._turns(part, vocabulary)
                content = "\0".join([*part["question"], *part["answer"]])
                self.fingerprints[name] = blake2b(content.encode(), digest_size=16).hexdigest()
                self.report.sizes[name] = len(part)
                self.references[name] = (
                    part.groupby([part["question"].map(normalised), "language"], sort=False)
                    .agg(question=("question", "first"), answers=("answer", list), language=("language", "first"))
                    .reset_index(drop=True)
                )
        for name in self.splits:
            answers = (rows[rows["part"] == name]["answer"] + TURN).tolist()
            tokens = sum(map(len, vocabulary.encode_pieces(answers)))
            self._bytes_per_token[str(name)] = sum(len(each.encode()) for each in answers) / tokens
        self.spec = token_facts(
            vocabulary,
            context=self.context,
            contiguous=False,
            bytes_per_token=self._bytes_per_token["val" if "val" in self.splits else "train"],
        )
        self.report.title = f"{raw.name}: {len(rows):,} questions with an answer, {vocabulary.size:,} different tokens"

    def prompt(self, text: str) -> str:
        """Format a question as in training: on one line, with the end token after which the answer follows."""
        return one_line(text) + TURN

    def encode(self, text: str) -> np.ndarray:
        """Return token ids (T,), at most half of the context; a longer question is cut at its start."""
        return encode_end(self._vocabulary(), text, self.context // 2)

    def schema(self) -> list[dict[str, str]]:
        return [{"name": name, "type": "string"} for name in (self.question, self.answer)]

    def _cleaned(self, raw: Raw) -> pd.DataFrame:
        """Return the columns question, answer, language and part, without duplicates within a part."""
        rows = pd.DataFrame(
            {
                "question": raw.rows[self.question].fillna("").map(one_line),
                "answer": raw.rows[self.answer].fillna("").map(one_line),
                "language": raw.rows[self.language].astype(str) if self.language else "",
                "part": raw.split,
            }
        )
        empty = rows["question"].eq("") | rows["answer"].eq("")
        self.report.note(int(empty.sum()), "rows without a question or an answer left out")
        rows = rows[~empty]
        pairs = pd.DataFrame({"q": rows["question"].map(normalised), "a": rows["answer"].map(normalised)})
        twice = pairs.duplicated()
        self.report.note(int(twice.sum()), "pairs that occur twice left out")
        return rows[~twice].reset_index(drop=True)

    def _turns(self, part: pd.DataFrame, vocabulary: Vocabulary) -> Turns:
        half = self.context // 2
        questions, answers = (
            [each.tolist() for each in vocabulary.encode_pieces((part[column] + TURN).tolist())]
            for column in ("question", "answer")
        )
        return Turns([each[-half:] for each in questions], answers, self.context)

    def _learned(self, texts: list[str]) -> Vocabulary:
        return asked_for(
            texts, tokenizer=self.tokenizer, level=self.level, size=self.vocab_size, min_count=self.min_count
        )


def one_line(text: object) -> str:
    """Replace line breaks and runs of spaces by single spaces."""
    return " ".join(str(text).split())
