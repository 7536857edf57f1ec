"""Texts and running text: vocabulary, padding, windows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lantu.data import Raw, TextDataModule, TokenDataModule, hub
from lantu.data.batches import Windows
from lantu.data.samplers import Chosen
from lantu.data.text.vocabulary import Bytes, Characters, Subwords
from lantu.errors import UserError
from lantu.notices import collected


def texts(folder: Path, **options: Any) -> TextDataModule:
    rows = [(f"{word} film about thing {number % 7}", word) for number in range(100) for word in ("good", "bad")]
    rows += [("", "good"), ("good film about thing 0", "good")]
    pd.DataFrame(rows, columns=["text", "label"]).drop_duplicates(ignore_index=True).to_csv(folder / "t.csv")
    made = TextDataModule(path=str(folder / "t.csv"), min_count=1, **options)
    made.setup("fit")
    return made


def tokens(folder: Path, text: str, **options: Any) -> TokenDataModule:
    (folder / "t.txt").write_text(text, encoding="utf-8")
    made = TokenDataModule(path=str(folder / "t.txt"), cache=str(folder / "cache"), **options)
    made.setup("fit")
    return made


def test_texts_are_padded_with_0_to_the_longest_of_the_batch(tmp_path: Path) -> None:
    made = texts(tmp_path)
    short = made.examples_of(pd.DataFrame({"text": ["good", "good film about"]}))
    x = short.__getitems__([0, 1])
    assert x.shape == (2, 3)
    assert x[0].tolist()[1:] == [0, 0]
    assert int((x[1] == 0).sum()) == 0


def test_empty_texts_are_counted_and_words_never_seen_are_unknown(tmp_path: Path) -> None:
    made = texts(tmp_path)
    assert "1 row without text left out" in made.report.lines()
    x = made.examples_of(pd.DataFrame({"text": ["marvellous film"]})).__getitems__([0])
    assert x[0, 0] == 1
    assert x[0, 1] > 1


@pytest.mark.parametrize("level", ["word", "char", "wordpiece"])
def test_later_texts_without_any_known_token_are_counted(tmp_path: Path, level: str) -> None:
    data = texts(tmp_path, level=level)
    with collected() as notes:
        data.examples_of(pd.DataFrame({"text": ["a good film", "\u4e00\u4e8c", "", "good \u4e00"]}))
    assert len(notes) == 1
    assert "`text`: 2 of 4 values hold nothing that training knew, such as '\u4e00\u4e8c'" in notes[0]
    with collected() as notes:
        data.examples_of(pd.DataFrame({"text": ["a good film", "good \u4e00"]}))
    assert notes == []


def test_a_text_is_cut_at_max_length(tmp_path: Path) -> None:
    made = texts(tmp_path, max_length=3)
    assert made.spec["max_length"] == 3
    assert any("cut after 3 tokens" in line for line in made.report.lines())


@pytest.mark.parametrize("level", ["char", "byte", "bpe"])
def test_text_comes_back_from_its_tokens(tmp_path: Path, level: str) -> None:
    text = "To be, or not to be: thät is the question.\n" * 40
    made = tokens(tmp_path, text, level=level, context=8, vocab_size=300)
    assert made.decode(made.encode("not to be: thät is\n")) == "not to be: thät is\n"
    assert made.spec["bytes_per_token"] > 0.9


def test_bytes_and_byte_pairs_write_any_text() -> None:
    strange = "蓝图 🎉 Ünïcode\t\n"
    assert Bytes().decode(Bytes().encode(strange)) == strange
    pairs = Subwords.of(["some plain text"] * 5, level="bpe", size=300, min_count=1)
    assert pairs.decode(pairs.encode(strange)) == strange


def test_a_character_that_the_training_text_lacks_is_a_sentence_or_one_token() -> None:
    with pytest.raises(UserError, match="'z' does not occur"):
        Characters("abc").encode("az")
    assert Characters("abc", unknown=True).encode("az").tolist() == [0, 3]


def test_targets_are_the_tokens_one_place_on_and_every_token_is_predicted_once() -> None:
    windows = Windows(np.arange(101), 10)
    x, y = windows.__getitems__(list(range(len(windows))))
    assert torch.equal(y, x + 1)
    assert sorted(y.flatten().tolist()) == list(range(1, 101))


def test_training_windows_begin_everywhere_in_time() -> None:
    windows = Windows(np.arange(101), 10, shifting=True)
    epochs = [Chosen(list(range(10)), seed=0, epoch=epoch) for epoch in range(60)]
    seen = {int(start) for epoch in epochs for start in windows.__getitems__(epoch)[0][:, 0]}
    assert seen == set(range(91))


def test_a_text_is_divided_in_order_into_shares(tmp_path: Path) -> None:
    made = tokens(tmp_path, "a" * 700 + "b" * 200 + "c" * 100, split={"val": 0.2, "test": 0.1}, context=4)
    assert made.report.sizes == {"train": 700, "val": 200, "test": 100}
    assert "2 characters that the training part lacks share one token" in made.report.lines()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"context": 5000}, "fewer than `data.context=5000`"),
        ({"level": "sentence"}, "the levels are"),
        ({"context": 0}, "at least 1"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        tokens(tmp_path, "abc " * 500, **options)


def test_modules_survive_a_checkpoint(tmp_path: Path) -> None:
    made = tokens(tmp_path, "abc " * 500)
    torch.save(made.state_dict(), tmp_path / "state.pt")
    fresh = TokenDataModule(path="nowhere.txt")
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.decode(fresh.encode("cab")) == "cab"


@pytest.mark.parametrize(
    ("path", "folder", "column", "sizes"),
    [
        (
            "cornell-movie-review-data/rotten_tomatoes",
            "sentence_polarity",
            "label",
            {"train": 8530, "val": 1066, "test": 1066},
        ),
        ("CogComp/trec", "trec", "coarse_label", {"train": 5452, "test": 500}),
    ],
)
def test_the_mirror_stands_in_for_the_hub(
    mirror: Path, path: str, folder: str, column: str, sizes: dict[str, int]
) -> None:
    raw = hub(path, mirror=str(mirror), mirror_folder=folder)
    assert {name: int((raw.split == name).sum()) for name in sizes} == sizes
    assert column in raw.rows


def test_shakespeare_has_65_characters_and_nine_tenths_train(mirror: Path, tmp_path: Path) -> None:
    from functools import partial

    source = partial(hub, "karpathy/tiny_shakespeare", mirror=str(mirror), mirror_folder="tiny_shakespeare")
    made = TokenDataModule(source=source, split={"val": 0.1, "test": 0.0}, cache=str(tmp_path))
    made.setup("fit")
    assert made.spec["vocab_size"] == 65
    assert made.report.sizes == {"train": 1_003_855, "val": 111_539}


def test_without_hub_and_mirror_one_sentence_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a hub where nobody answers; both switches are put back afterwards
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"`paths\.mirror=DIR`"):
        hub("someone/nothing-of-that-name", mirror=str(tmp_path))


def test_characters_of_a_text_are_tokens_without_case_and_come_back(tmp_path: Path) -> None:
    made = texts(tmp_path, level="char")
    x = made.examples_of(pd.DataFrame({"text": ["Good film"]})).__getitems__([0])[0]
    assert len(x) == len("good film")
    assert made._vocabulary().decode(x.tolist()) == "good film"


@pytest.mark.parametrize(("duplicates", "sizes"), [("keep", (8, 6, 6)), ("drop", (2, 6, 6)), ("once", (2, 2, 2))])
def test_texts_that_repeat_can_be_counted_once_in_every_part(duplicates: str, sizes: tuple[int, ...]) -> None:
    parts = [("train", 4), ("val", 3), ("test", 3)]
    rows = [(f"{word} {part} film", word, part) for part, times in parts for word in ("good", "bad") * times]
    table = pd.DataFrame(rows, columns=["text", "label", "part"])
    raw = Raw(name="made", rows=table.drop(columns="part"), split=table["part"].to_numpy(dtype="<U5"))
    made = TextDataModule(source=lambda: raw, min_count=1, duplicates=duplicates)
    made.setup("fit")
    assert tuple(made.report.sizes[part] for part, _ in parts) == sizes
