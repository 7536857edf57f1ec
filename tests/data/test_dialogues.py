"""Questions and answers: no question on both sides of a split."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lantu.data import Raw, held_out_questions, hub
from lantu.data.text.dialogue_split import normalised
from lantu.errors import UserError


def made() -> Raw:
    rows = [(f"{word} {number}{end}", "ai") for number in range(50) for word in ("Hi", "hi") for end in ("", "!")]
    frame = pd.DataFrame(rows, columns=["question", "topic"])
    return Raw(name="made", rows=frame, split=np.repeat("train", len(frame)))


def test_questions_that_differ_in_case_and_punctuation_stay_together() -> None:
    raw = held_out_questions(made, split={"val": 0.2, "test": 0.2})
    parts = pd.Series(raw.split).groupby(raw.rows["question"].map(normalised)).nunique()
    assert parts.max() == 1
    assert {name: int((raw.split == name).sum()) for name in ("train", "val", "test")} == {
        "train": 120, "val": 40, "test": 40,
    }  # fmt: skip


def test_values_that_mean_the_same_are_one() -> None:
    assert set(held_out_questions(made, rename={"topic": {"ai": "machines"}}).rows["topic"]) == {"machines"}


def test_a_column_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UserError, match="no column 'asked'"):
        held_out_questions(made, question="asked")


def test_no_test_question_of_chatterbot_is_trained_on(mirror: Path) -> None:
    raw = held_out_questions(partial(hub, "chatterbot", mirror=str(mirror)))
    questions = raw.rows["question"].map(normalised)
    assert not set(questions[raw.split == "train"]) & set(questions[raw.split != "train"])


def test_questions_that_are_alike_stay_together_through_others_that_are_like_both() -> None:
    chain = ["my printer is not printing", "my printer is not printing now", "and my printer is not printing now"]
    rows = pd.DataFrame({"question": [*chain, *(chr(97 + number) * 9 for number in range(20))]})

    def source() -> Raw:
        return Raw(name="made", rows=rows, split=np.repeat("train", len(rows)))

    for seed in range(10):
        parts = held_out_questions(source, alike=0.7, split={"val": 0.3, "test": 0.3}, split_seed=seed).split
        assert len(set(parts[:3])) == 1


def test_questions_that_are_all_alike_cannot_be_divided_and_that_is_a_sentence() -> None:
    with pytest.raises(UserError, match="different questions, too few"):
        held_out_questions(made, alike=0.1)


def test_data_that_no_hub_has_say_how_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"on no hub. Ask Ada. .*the folder `dialogues`"):
        hub("dialogues", mirror=str(tmp_path), elsewhere="Ask Ada.")
