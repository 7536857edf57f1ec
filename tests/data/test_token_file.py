"""A text is tokenised once, into a file that is whole or not there, and read from it by every run and worker."""

import json
import multiprocessing
import os
import pickle
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from lantu.data import TokenDataModule
from lantu.data.text import tokenize
from lantu.data.text.corpus import pieces
from lantu.data.text.token_file import UNUSED_DAYS, Mapped
from lantu.errors import UserError

LEVELS = pytest.mark.parametrize("level", ["char", "byte", "bpe", "word", "wordpiece"])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Lines, blank lines, rows of spaces, tabs and letters of several bytes, in an order that is always the same."""
    chosen = random.Random(0)
    words = ["The", "thät", "don't", "蓝图", "x.", "", " ", "\t", "\n", "\n\n", "\n \n", "end.\n", "12,5", "</s>", "🎉"]
    path = tmp_path / "text.txt"
    path.write_text(" ".join(chosen.choice(words) for _ in range(6000)), encoding="utf-8")
    return path


def data(path: Path, **options: Any) -> TokenDataModule:
    made = TokenDataModule(path=str(path), cache=str(path.parent / "cache"), context=8, vocab_size=300, **options)
    made.setup("fit")
    return made


def tokens_of(made: TokenDataModule, part: str = "train") -> np.ndarray:
    return made.splits[part].tokens  # type: ignore[attr-defined]


def files(path: Path, ending: str = "safetensors") -> list[Path]:
    return sorted((path.parent / "cache" / "tokens").glob(f"*.{ending}"))


@LEVELS
def test_the_tokens_are_those_of_the_whole_text_though_it_is_read_in_pieces(
    text: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lantu.data.text.corpus.CHUNK", 50)
    monkeypatch.setattr(tokenize, "PIECE", 20)
    monkeypatch.setattr(tokenize, "AT_ONCE", 300)
    made = data(text, level=level, split={"val": 0.25, "test": 0.0})
    whole = text.read_text(encoding="utf-8")
    border = len(whole) - round(0.25 * len(whole))
    for part, content in (("train", whole[:border]), ("val", whole[border:])):
        vocabulary = made._vocabulary()
        assert tokens_of(made, part).tolist() == vocabulary.encode_pieces([content])[0].tolist()
        assert isinstance(tokens_of(made, part), Mapped)


def test_pieces_are_cut_between_words_alone_and_lose_nothing() -> None:
    text = "one two  three\n\nfour\nfive " * 20
    for size in (1, 7, 10_000):
        found = list(pieces((text[at : at + size] for at in range(0, len(text), size)), least=10))
        assert "".join(found) == text
        assert all(len(each) >= 10 for each in found[:-1])
        assert all(each[0] in " \n" and not each[1].isspace() for each in found[1:])
        assert not any(each[-1].isspace() for each in found[:-1])
    assert list(pieces(["a" * 50, "b" * 50], least=10)) == ["a" * 50 + "b" * 50]


@LEVELS
def test_a_second_run_neither_learns_nor_tokenises_again(text: Path, level: str) -> None:
    first = data(text, level=level)
    before = {each: each.stat() for each in (*files(text), *files(text, "json"))}
    second = data(text, level=level)
    assert {each: each.stat().st_ino for each in before} == {each: it.st_ino for each, it in before.items()}
    assert second.spec == first.spec
    assert second.fingerprints == first.fingerprints
    assert second.report.lines() == first.report.lines()
    assert np.array_equal(tokens_of(second), tokens_of(first))
    restored = TokenDataModule(path=str(text), cache=str(text.parent / "cache"), context=8, level=level)
    restored.load_state_dict(first.state_dict())  # what evaluate does, knowing the vocabulary alone
    restored.setup("test")
    assert len(files(text)) == 1


@pytest.mark.parametrize(
    "change",
    [{"text": "changed"}, {"split": {"val": 0.2}}, {"level": "char"}, {"documents": "marked"}, {"min_count": 500}],
)
def test_another_text_division_or_vocabulary_is_another_file(text: Path, change: dict[str, Any]) -> None:
    data(text, level="bpe")
    if change.pop("text", None):
        text.write_text(text.read_text(encoding="utf-8") + "!", encoding="utf-8")
    data(text, **{"level": "bpe", **change})
    assert len(files(text)) == 2


def test_a_moved_text_is_the_same_text(text: Path) -> None:
    data(text)
    moved = text.rename(text.with_name("moved.txt"))
    data(moved)
    assert len(files(text)) == 1


def test_the_file_describes_itself_to_others(text: Path) -> None:
    made = data(text, level="bpe")
    with safe_open(files(text)[0], "np") as file:
        assert np.array_equal(file.get_tensor("train"), tokens_of(made))
        assert file.metadata()["version"] == "2"
        facts = json.loads(file.metadata()["facts"])
    assert facts["val"]["fingerprint"] == made.fingerprints["val"]
    assert tokens_of(made).dtype == np.uint16
    assert tokens_of(made).offset % 4096 == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "longer", "older"])
def test_a_damaged_or_foreign_file_is_written_anew(text: Path, damage: str) -> None:
    right = data(text, level="bpe")
    for file in (*files(text), *files(text, "json")):
        content = file.read_bytes()
        older = content.replace(b'"version": "2"', b'"version": "0"')
        cut = content[: len(content) // 2]
        damaged = {"cut": cut, "empty": b"", "foreign": b"\x89PNG" * 2000, "longer": content + b"\0", "older": older}
        file.unlink()  # what is mapped must not shrink
        file.write_bytes(damaged[damage])
    again = data(text, level="bpe")
    assert np.array_equal(tokens_of(again), tokens_of(right))
    assert again.spec == right.spec


def _read_at_the_signal(path: Path, start: Any, answers: Any) -> None:
    start.wait(120)
    made = data(path, level="bpe")
    answers.put((files(path)[0].stat().st_ino, int(tokens_of(made).sum())))


def test_processes_that_read_at_once_write_one_file_and_none_reads_half_of_it(text: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(3), context.Queue()
    (text.parent / "cache" / "tokens").mkdir(parents=True)
    processes = [context.Process(target=_read_at_the_signal, args=(text, start, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {answers.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(120)
    assert len(found) == 1
    assert not files(text, "part")


def test_what_a_killed_process_left_is_cleared_away(text: Path) -> None:
    data(text)
    left = files(text)[0].with_name(f"{files(text)[0].name}.99999.part")
    left.write_bytes(b"half")
    files(text)[0].unlink()
    data(text)
    assert not left.exists()


def test_a_worker_process_is_sent_the_place_of_the_tokens_and_not_the_tokens(text: Path) -> None:
    windows = data(text).splits["train"]
    sent = pickle.dumps(windows)
    assert len(sent) < 2000 < len(windows.tokens)  # type: ignore[attr-defined]
    received = pickle.loads(sent)
    assert isinstance(received.tokens, Mapped)
    assert np.array_equal(received.tokens, windows.tokens)  # type: ignore[attr-defined]
    some = windows.tokens[100:110]  # type: ignore[attr-defined]
    assert np.array_equal(pickle.loads(pickle.dumps(some)), some)


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lantu.data.text.corpus.CHUNK", 2**14)
    monkeypatch.setattr(tokenize, "AT_ONCE", 2**15)
    text = tmp_path / "long.txt"
    text.write_text("A line of a text that is read in pieces.\n" * 100_000, encoding="utf-8")
    made = TokenDataModule(path=str(text), cache=str(tmp_path / "cache"), level="byte")
    tracemalloc.start()
    made.setup("fit")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(made.report.sizes.values()) == text.stat().st_size
    assert peak < text.stat().st_size / 4


def test_texts_of_a_table_are_documents_and_empty_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    rows = pd.DataFrame({"body": ["first text " * 20, None, "second text " * 20], "other": [1, 2, 3]})
    rows.to_json(path, orient="records", lines=True)
    made = data(path, text="body", split={"val": 0.0, "test": 0.0})
    assert made.decode(tokens_of(made)) == "first text " * 20 + "\n" + "second text " * 20
    assert "1 row without text left out" in made.report.lines()


def test_a_folder_that_cannot_be_written_is_a_sentence(text: Path) -> None:
    (text.parent / "cache").write_text("a file, where a folder should be")
    with pytest.raises(UserError, match=r"cannot be written.*`paths\.cache=DIR`"):
        data(text)


def test_files_that_nobody_opened_for_a_month_are_removed_when_another_is_written(text: Path) -> None:
    def age(days: float) -> None:
        for file in (*files(text), *files(text, "json")):
            when = file.stat().st_mtime - days * 24 * 3600
            os.utime(file, (when, when))

    data(text, level="char", split={"test": 0.0})
    old = {*files(text), *files(text, "json")}
    assert len(old) == 2
    age(UNUSED_DAYS - 1)
    data(text, level="byte")
    assert old < {*files(text), *files(text, "json")}
    age(UNUSED_DAYS - 1)
    data(text, level="byte")  # is used again
    data(text, level="word")
    left = {*files(text), *files(text, "json")}
    assert not old & left
    assert len(left) == 3
