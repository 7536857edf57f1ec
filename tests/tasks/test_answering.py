"""Answers are written for held-out questions, scored against people's, and kept."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lantu
from lantu.inference.rebuild import rebuild
from lantu.serving.model import Model
from lantu.tasks import Answering
from lantu.tasks.answer_scores import answer_scores
from lantu.tracking.find import find_checkpoint

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "sun": "yellow"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Questions in many forms, of which a new one can be answered by who has understood the others."""
    forms = ("{} has what colour?", "colour of {}?", "say the colour of {}", "{}: which colour?", "tell me, is {} red?",
             "{}, please", "what is {} like?", "describe {}", "how does {} look?", "and {}?")  # fmt: skip
    rows = [(form.format(thing), f"It is {colour}.", "en") for form in forms for thing, colour in COLOURS.items()]
    pd.DataFrame(rows, columns=["question", "answer", "language"]).to_csv(tmp_path / "d.csv", index=False)
    return tmp_path / "d.csv"


@pytest.mark.slow
def test_a_small_gpt_learns_to_answer_new_questions_and_a_rebuilt_one_answers_alike(
    train: Callable[..., lantu.Result], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(
        "data=dialogues", "model=gpt", "optimizer=muon", "optimizer.lr=1e-2", f"data.path={table}", "data.alike=null",
        "data.vocab_size=400", "data.language=language", "data.split={val: 0.1, test: 0.2}", "data.batch_size=16",
        "model.layers=2", "model.width=64", "trainer.max_epochs=40", "trainer.check_val_every_n_epoch=20",
        "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "save_model=false",
    )  # fmt: skip
    assert result.metrics["test/exact_match"] > 0.6
    assert result.metrics["test/chrf"] == pytest.approx(result.metrics["test/chrf/slice/language/en"])
    journal = [json.loads(line) for line in (result.run_dir / "journal" / "records.jsonl").read_text().splitlines()]
    paths = {record.get("path") for record in journal}
    assert {"tables/answers_test.json", "samples/validation.json"} <= paths

    task = result.module
    assert isinstance(task, Answering)
    assert task.answered is not None
    again = rebuild(find_checkpoint(str(result.run_dir), store=table.parent))
    assert isinstance(again.task, Answering)
    questions = task.answered["question"].tolist()
    assert again.task.answer_all(again.data, questions) == task.answered["answer"].tolist()
    served = Model(again).predict(pd.DataFrame({"prompt": questions[:2]}), {"temperature": 0})
    assert served["text"].tolist() == [
        f"{a}\n{b}" for a, b in zip(questions, task.answered["answer"][:2], strict=False)
    ]


def test_vowel_signs_belong_to_words_and_punctuation_alone_is_compared_as_it_is() -> None:
    scores = answer_scores(["कैसे हो", "ভালো", "?!", "..."], [["कासा हि"], ["ভালো।"], ["..."], ["..."]])
    assert scores["exact_match"].tolist() == [0, 1, 0, 1]
    assert scores["token_f1"].tolist() == [0, 1, 0, 1]


def test_scores_are_against_the_best_fitting_reference() -> None:
    scores = answer_scores(["I am fine!", "no", "", "我很好"], [["Bad.", "i am FINE"], ["yes"], ["x"], ["我不好"]])
    assert scores["exact_match"].tolist() == [1, 0, 0, 0]
    assert scores["token_f1"] == pytest.approx([1, 0, 0, 2 / 3])
    assert scores["chrf"][1] == scores["chrf"][2] == 0
    assert np.all((scores["chrf"] >= 0) & (scores["chrf"] <= 1))
    assert scores["chrf"][0] > 0.5
