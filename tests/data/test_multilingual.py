"""Texts in many languages: how they are divided, drawn and counted."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lantu.data import MultilingualDataModule, Raw, hub
from lantu.data.samplers import Chosen
from lantu.data.text.mixtures import Mixture, Stretches, shares_of
from lantu.data.text.scripts import script_of
from lantu.data.text.vocabulary import Subwords
from lantu.errors import UserError


def raw(**texts: str) -> Raw:
    rows = pd.DataFrame({"language": list(texts), "text": list(texts.values())})
    return Raw(name="made", rows=rows, split=np.repeat("train", len(rows)))


def made(texts: dict[str, str], **options: Any) -> MultilingualDataModule:
    options = {"context": 8, "shortest": 50, "split": {"val": 0.2, "test": 0.2}, **options}
    data = MultilingualDataModule(source=lambda: raw(**texts), **options)
    data.setup("fit")
    return data


def lines(word: str, count: int = 40) -> str:
    return "\n".join(f"  {word} says {word} {number:03d}" for number in range(count))


def content(data: MultilingualDataModule, part: str, language: str) -> str:
    split, number = data.splits[part], data.languages.index(language)
    assert isinstance(split, Stretches)
    return data.decode(split.tokens[split.begins[number] : split.ends[number]])


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Всеобщая декларация, article 1", "Cyrillic"),
        ("世界人權宣言", "Han"),
        ("世界人権に関する宣言", "Japanese"),
        ("ᐃᓄᐃᑦ ᐊᒻᒪ 12", "Canadian Aboriginal"),
        ("1234 ?!", "Unknown"),
    ],
)
def test_a_text_has_the_script_of_most_of_its_letters(text: str, script: str) -> None:
    assert script_of(text) == script


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_languages_are_drawn_in_proportion_to_their_size_to_the_power_alpha(alpha: float) -> None:
    sizes = np.array([4000, 400, 40, 0])
    tokens = [np.full(size, number, dtype=np.uint16) for number, size in enumerate(sizes)]
    mixture = Mixture(tokens, 4, sizes=np.ones(4, dtype=int), alpha=alpha, seed=0)
    expected = np.where(sizes > 0, sizes.astype(float) ** alpha, 0)
    expected /= expected.sum()
    assert mixture.shares == pytest.approx(expected)
    everything = list(range(len(mixture)))
    epochs = [mixture.__getitems__(Chosen(everything, seed=0, epoch=epoch)) for epoch in range(20)]
    drawn = np.concatenate([about[:, 0].numpy() for _, _, about in epochs])
    assert np.bincount(drawn, minlength=4) / len(drawn) == pytest.approx(expected, abs=0.012)
    assert shares_of(sizes, alpha)[3] == 0


def test_a_drawn_row_hangs_on_seed_epoch_and_index_alone() -> None:
    tokens = [np.arange(300), np.arange(300, 900)]
    mixture = Mixture(tokens, 16, sizes=np.ones(900, dtype=int), alpha=0.3, seed=1)
    again = pickle.loads(pickle.dumps(mixture))
    second = Chosen(list(range(len(mixture))), seed=1, epoch=1)
    together = mixture.__getitems__(second)
    torch.manual_seed(5)
    np.random.default_rng(5).random()
    alone = [again.__getitems__(Chosen([index], seed=1, epoch=1)) for index in reversed(second)][::-1]
    for part in range(3):
        assert torch.equal(together[part], torch.cat([row[part] for row in alone]))
    first = mixture.__getitems__(Chosen(second, seed=1, epoch=0))
    assert not torch.equal(first[0], together[0])
    other = Mixture(tokens, 16, sizes=np.ones(900, dtype=int), alpha=0.3, seed=2)
    assert not torch.equal(other.__getitems__(second)[0], together[0])


def test_every_token_but_a_languages_first_is_a_target_once_and_no_row_crosses_into_another_language() -> None:
    tokens = [np.arange(10, 31), np.array([], dtype=int), np.array([5]), np.arange(40, 44)]
    stretches = Stretches(tokens, 8, sizes=np.full(64, 2))
    x, y, about = stretches.__getitems__(list(range(len(stretches))))
    asked = y != -100
    assert sorted(y[asked].tolist()) == [*range(11, 31), *range(41, 44)]
    assert torch.equal(y[asked], x[asked] + 1)
    assert about.tolist() == [[0, 16], [0, 16], [0, 8], [3, 6]]


def test_texts_are_cut_at_the_same_share_and_in_order() -> None:
    data = made({"aa": lines("one"), "bb": lines("another longer one")})
    for language in data.languages:
        numbers = [
            [int(line.split()[-1]) for line in content(data, part, language).splitlines()]
            for part in ("train", "val", "test")
        ]
        assert numbers == [list(range(24)), list(range(24, 32)), list(range(32, 40))]


def test_a_paragraph_that_repeats_stays_in_the_last_of_its_parts_and_is_counted() -> None:
    repeated = "\n".join(["one says one 039", "another says another 030", *lines("one").splitlines()])
    data = made({"aa": repeated, "bb": lines("another")})
    parts = {part: set(content(data, part, "aa").splitlines()) for part in ("train", "val", "test")}
    assert "one says one 039" in parts["test"] - parts["train"]
    assert "another says another 030" not in parts["train"]
    assert "2 train paragraphs that occur in val or test left out" in data.report.lines()


def test_short_texts_train_only_and_languages_without_text_are_named() -> None:
    data = made({"aa": lines("one"), "short": "a few words", "empty": " \n[??]"})
    assert content(data, "train", "short") == "a few words"
    assert content(data, "test", "short") == content(data, "val", "short") == ""
    found = " ".join(data.report.lines())
    assert "1 language without text left out: empty" in found
    assert "1 language under 50 characters is only trained on: short" in found
    assert "1 line without a letter left out" in found


def test_bytes_are_the_same_whatever_the_tokenizer() -> None:
    texts = {"aa": lines("ünï"), "bb": lines("蓝图")}

    def counted(level: str) -> tuple[int, int]:
        data = made(texts, level=level, vocab_size=300, min_count=1)
        split = data.splits["test"]
        assert isinstance(split, Stretches)
        about = split.__getitems__(list(range(len(split))))[2]
        first = sum(int(split.sizes[split.tokens[begin]]) for begin in split.begins)  # is no target
        assert data.decode(data.encode("ünï 蓝图")) == "ünï 蓝图"
        return int(about[:, 1].sum()) + first, len(split.tokens)

    (by_bytes, count), (by_pairs, fewer) = counted("byte"), counted("bpe")
    assert by_bytes == by_pairs == count
    assert fewer < count


def test_a_tagged_row_begins_with_its_language_and_every_byte_of_a_text_is_a_target_once() -> None:
    texts = {"aa": lines("ünï"), "bb": lines("蓝图")}
    data = made(texts, level="bpe", vocab_size=300, min_count=1, tagged=True)
    for part in ("train", "val", "test"):
        split = data.splits[part]
        assert isinstance(split, Stretches)
        x, y, about = split.__getitems__(list(range(len(split))))
        for number, name in enumerate(data.languages):
            rows = about[:, 0] == number
            assert {data.decode([token]) for token in x[rows, 0].tolist()} == {f"<|{name}|>"}
            if part != "train":  # whose rows are drawn
                told = data.decode(y[rows][y[rows] != -100])
                assert told == content(data, part, name)
                assert int(about[rows, 1].sum()) == len(told.encode())
            for asked, target in zip(x[rows], y[rows], strict=True):
                assert asked[1:][target[1:] != -100].tolist() == target[:-1][target[1:] != -100].tolist()
    assert data.decode(data.encode("<|bb|>蓝图 says")) == "<|bb|>蓝图 says"
    assert data.encode("<|bb|>蓝图")[0] == split.tags[1]  # type: ignore[index]
    assert split.sizes[split.tags].sum() == 0


def test_a_tokenizer_of_ones_own_is_taken_and_one_that_changes_the_text_is_a_sentence(tmp_path: Path) -> None:
    texts = {"aa": lines("Ünï"), "bb": lines("蓝图")}
    for level in ("bpe", "wordpiece"):
        Subwords.of(list(texts.values()), level=level, size=400, min_count=1).tokenizer.save(str(tmp_path / level))
    pairs = made(texts, tokenizer=str(tmp_path / "bpe"), vocab_size=9)
    assert pairs.spec["vocab_size"] == Subwords.loaded(str(tmp_path / "bpe")).size
    assert content(pairs, "train", "bb") == "\n".join(map(str.strip, texts["bb"].splitlines()[:24]))
    with pytest.raises(UserError, match=r"`data\.tokenizer=.*wordpiece` drops or changes"):
        made(texts, tokenizer=str(tmp_path / "wordpiece"))


@pytest.mark.parametrize(("option", "value"), [("tagged", True), ("alpha", 1.5), ("level", "word")])
def test_an_option_out_of_its_range_is_a_sentence(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"(?i)`data\.{option}={value}`"):
        made({"aa": lines("one")}, **{option: value})


def test_no_paragraph_of_the_declaration_is_in_two_parts(mirror: Path) -> None:
    data = MultilingualDataModule(source=partial(hub, "udhr", mirror=str(mirror)), context=128)
    data.setup("fit")
    parts = {
        part: {line for name in data.languages for line in content(data, part, name).splitlines()}
        for part in ("train", "val", "test")
    }
    assert not parts["train"] & (parts["val"] | parts["test"])
    assert not parts["val"] & parts["test"]
    assert "nku" not in data.languages
    shares = [len(content(data, "test", name)) / max(1, len(content(data, "train", name))) for name in data.languages]
    assert np.quantile(shares, [0.1, 0.9]) == pytest.approx([0.12, 0.12], abs=0.03)  # parallel texts stay aligned
