"""Questions become windows, and places in them become text again."""

import json
from pathlib import Path

import pandas as pd
import pytest

from lantu.data import QuestionDataModule
from lantu.errors import UserError

AWKWARD = "Ünïcode: Größe ﬁve 🎉 🇨🇳 naïve İstanbul, 蓝图 means blueprint; e\u0301clair \u200bx\u00a0y ½ don't."
WORDS = ["Größe", "ﬁve", "🎉", "İstanbul", "蓝图", "blueprint", "e\u0301clair", "don't", "naïve İstanbul, 蓝图"]


def made(folder: Path, rows: list[dict], **options) -> QuestionDataModule:
    file = folder / "q.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    module = QuestionDataModule(path=str(file), min_count=1, split={"val": 0.0, "test": 0.0}, **options)
    module.setup("fit")
    return module


@pytest.mark.parametrize("level", ["wordpiece", "bpe"])
@pytest.mark.parametrize("padding", [0, 37])
def test_an_answer_comes_back_from_its_places_whatever_the_script(tmp_path: Path, level: str, padding: int) -> None:
    context = "mañana 🎉 " * padding + AWKWARD + " tail" * padding
    rows = [{"question": "¿qué?", "context": context, "answer": word} for word in WORDS if context.count(word) == 1]
    options = {"max_length": 60, "overlap": 25} if padding else {"max_length": 250, "overlap": 10}
    part = made(tmp_path, rows, level=level, **options).splits["train"]
    found = {
        part.of_question[window]: part.text(window, first, last) for first, last, window in part.y.tolist() if first
    }
    assert found == {number: row["answer"] for number, row in enumerate(rows)}
    assert (len(part) > len(rows)) == bool(padding)


def test_windows_overlap_and_cover_the_whole_context(tmp_path: Path) -> None:
    context = " ".join(f"word{number}" for number in range(100))
    rows = [{"question": "which one?", "context": context, "answer": "word99"}]
    part = made(tmp_path, rows, max_length=30, overlap=8).splits["train"]
    begins = [int(each[:, 0][each[:, 1] > 0].min()) for each in part.offsets]
    ends = [int(each[:, 1].max()) for each in part.offsets]
    assert begins[0] == 0
    assert ends[-1] == len(context)
    assert all(begin < end for begin, end in zip(begins[1:], ends, strict=False))
    assert sum(first > 0 for first, _, _ in part.y.tolist()) >= 1


def test_questions_on_one_context_stay_in_one_part_and_lost_answers_are_counted(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{number}?", "context": f"text {number // 4} says yes", "answer": "yes" if number else "no"}
        for number in range(80)
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    module = QuestionDataModule(path=str(tmp_path / "q.jsonl"), min_count=1, overlap=10)
    module.setup("fit")
    contexts = [set(module.splits[name].contexts) for name in ("train", "val", "test")]
    assert not contexts[0] & contexts[1]
    assert not contexts[0] & contexts[2]
    assert "1 question whose answer is not in the context left out" in module.report.lines()


def test_squads_own_form_of_answers_is_read(tmp_path: Path) -> None:
    row = {"question": "q", "context": "a b a b", "answers": {"text": ["b", "a b"], "answer_start": [6, 4]}}
    pd.DataFrame([row]).to_parquet(tmp_path / "q.parquet")
    module = QuestionDataModule(
        path=str(tmp_path / "q.parquet"), min_count=1, split={"val": 0.0, "test": 0.0}, overlap=9
    )
    module.setup("fit")
    (first, last, window), part = module.splits["train"].y[0].tolist(), module.splits["train"]
    assert part.offsets[window, first, 0] == 6
    assert [each.text for each in part.answers[0]] == ["b", "a b"]
    assert first == last


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ({"question": "q", "answer": "a"}, {}, "no column 'context'"),
        ({"question": "q", "context": "a", "answer": "b"}, {}, "no question is left"),
        ({"question": "q", "context": "a b", "answer": "b"}, {"max_length": 20, "overlap": 19}, r"data\.max_length=20"),
        ({"question": "q", "context": "a b", "answer": "b"}, {"level": "char"}, r"data\.level=char"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path: Path, row: dict, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(tmp_path, [row], **options)
