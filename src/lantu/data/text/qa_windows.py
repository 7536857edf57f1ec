"""Cut questions with long contexts into windows of tokens, with answers as token spans."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.data.batches import Examples
from lantu.errors import UserError

QUESTION, CONTEXT, FILL, SEPARATOR = 0, 1, 2, 3
"""The segment of a position in a window; the separators around the question belong to it."""


@dataclass(frozen=True)
class Answer:
    """A span of a context, in characters."""

    text: str
    start: int


class Windowed(Examples):
    """Windows over questions and contexts: x int64 (N, 2, L), tokens and segments; y int64 (N, 3).

    Targets are the positions of the answer's first and last token, and the window's index. Both positions are 0 (the
    first separator) if the window does not contain the answer. The index maps token positions back to the context.
    """

    def __init__(
        self,
        tokenizer: Any,
        questions: list[str],
        contexts: list[str],
        *,
        answers: list[list[Answer]] | None,
        length: int,
        overlap: int,
        longest_question: int,
        pad_id: int,
        ends: tuple[int, int],
    ) -> None:
        self.contexts = contexts
        self.answers = answers
        """Accepted answers of each question; the first is the training target."""
        self.of_question: list[int] = []
        """The question of each window."""
        begin, end = ends
        tokens, belongs, offsets = [], [], []
        targets: list[tuple[int, int, int]] = []
        encoded = tokenizer.encode_batch(questions, add_special_tokens=False)
        read = tokenizer.encode_batch(contexts, add_special_tokens=False)
        for number, (question, context) in enumerate(zip(encoded, read, strict=True)):
            front = [begin, *question.ids[:longest_question], end]
            room = length - len(front) - 1
            if room <= overlap:
                raise UserError(
                    f"`data.max_length={length}` leaves {room} tokens for the context, beside a question of "
                    f"{len(front) - 2}: give more, or a `data.overlap` below {room}."
                )
            answer = answers[number][0] if answers is not None and answers[number] else None
            for first in _starts(len(context.ids), room, overlap):
                part = context.ids[first : first + room]
                places = np.zeros((length, 2), dtype=np.int32)
                places[len(front) : len(front) + len(part)] = context.offsets[first : first + room]
                row = [*front, *part, end]
                fill = length - len(row)
                tokens.append([*row, *[pad_id] * fill])
                belongs.append([*[QUESTION] * len(front), *[CONTEXT] * len(part), SEPARATOR, *[FILL] * fill])
                offsets.append(places)
                targets.append((*_target(answer, places, len(front), len(part)), len(targets)))
                self.of_question.append(number)
        x = torch.tensor(np.stack([tokens, belongs], axis=1), dtype=torch.int32)
        self.offsets = np.stack(offsets)
        super().__init__(x, torch.tensor(targets), finish=_without_common_fill)

    def best_rows(self, windows: np.ndarray, score: np.ndarray) -> list[int]:
        """Return for each question, in order, the row of its window with the highest score."""
        best: dict[int, int] = {}
        for row, window in enumerate(windows):
            question = self.of_question[window]
            if question not in best or score[row] > score[best[question]]:
                best[question] = row
        return [best[question] for question in range(len(self.contexts)) if question in best]

    def text(self, window: int, first: int, last: int) -> str:
        """Return the context's text between two positions of a window, including the last."""
        begin, end = self.offsets[window, first, 0], self.offsets[window, last, 1]
        return self.contexts[self.of_question[window]][begin:end].strip()


def _starts(count: int, room: int, overlap: int) -> list[int]:
    """Return where windows begin, so that consecutive ones share `overlap` tokens and the last reaches the end."""
    return [0, *range(room - overlap, max(count - overlap, 0), room - overlap)] if count > room else [0]


def _target(answer: Answer | None, places: np.ndarray, front: int, count: int) -> tuple[int, int]:
    """Return the positions of an answer's first and last token; (0, 0) if it is not fully inside the window."""
    if answer is None or not count:
        return 0, 0
    inside = places[front : front + count]
    begin, end = answer.start, answer.start + len(answer.text)
    touched = np.flatnonzero((inside[:, 1] > begin) & (inside[:, 0] < end))
    if not len(touched) or inside[touched[0], 0] > begin or inside[touched[-1], 1] < end:
        return 0, 0
    return front + int(touched[0]), front + int(touched[-1])


def _without_common_fill(x: Tensor) -> Tensor:
    used = (x[:, 1] != FILL).any(dim=0).nonzero()
    return x[:, :, : int(used[-1]) + 1].long()
