"""Question and answer pairs: what is asked of the network, and what is kept apart."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lantu.data import DialogueDataModule
from lantu.data.text.dialogues import Turns
from lantu.errors import UserError


def dialogues(folder: Path, **options: Any) -> DialogueDataModule:
    rows = [(f"What is thing number {number}?", f"Thing {number * 7}.", "en") for number in range(40)]
    rows += [("what is thing  number 3", "It is three.", "en"), ("", "Nothing.", "en"), ("Why?", "Why?", "en")] * 2
    pd.DataFrame(rows, columns=["question", "answer", "tongue"]).to_csv(folder / "d.csv", index=False)
    made = DialogueDataModule(path=str(folder / "d.csv"), split={"val": 0.2, "test": 0.2}, **{"alike": None, **options})
    made.setup("fit")
    return made


def test_only_the_answers_tokens_are_asked_for() -> None:
    turns = Turns([[5, 6, 1], [7, 1]], [[8, 9, 1], [4, 1]], context=16)
    x, y = turns.__getitems__([0, 1])
    assert x.tolist() == [[5, 6, 1, 8, 9], [7, 1, 4, 1, 0]]
    assert y.tolist() == [[-100, -100, 8, 9, 1], [-100, 4, 1, -100, -100]]
    assert torch.equal(turns[1][0], torch.tensor([7, 1, 4]))


def test_a_long_answer_is_cut_at_the_context() -> None:
    x, y = Turns([[5, 1]], [[2] * 50], context=8).__getitems__([0])
    assert x.shape == y.shape == (1, 8)


def test_pairs_that_repeat_and_empty_ones_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = dialogues(tmp_path).report.lines()
    assert "2 rows without a question or an answer left out" in lines
    assert "2 pairs that occur twice left out" in lines


def test_what_a_question_may_be_answered_is_kept_together(tmp_path: Path) -> None:
    made = dialogues(tmp_path, language="tongue")
    every = pd.concat(made.references.values())
    (answers,) = every[every["question"] == "What is thing number 3?"]["answers"]
    assert answers == ["Thing 21.", "It is three."]
    assert set(every["language"]) == {"en"}


def test_a_typed_question_is_read_as_a_training_question(tmp_path: Path) -> None:
    made = dialogues(tmp_path)
    assert made.prompt("  What is\n it? ") == "What is it?\n"
    assert made.stops == ("\n",)
    question = made.references["train"]["question"][0]
    encoded = made.encode(made.prompt(question)).tolist()
    assert made.splits["train"].__getitems__([0])[0][0].tolist()[: len(encoded)] == encoded
    assert made.decode(encoded) == question + "\n"
    assert len(made.encode("word " * 500)) <= made.context // 2


@pytest.mark.parametrize(
    ("options", "said"),
    [({"answer": "reply"}, "no column 'reply'"), ({"level": "word"}, "the levels are"), ({"context": 2}, "at least 4"),
     ({"alike": 2.0}, "share of trigrams")],
)  # fmt: skip
def test_a_mistake_is_a_sentence(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        dialogues(tmp_path, **options)
