"""Stretches of text by their language."""

from typing import Any

import pandas as pd
import pytest

from lantu.data import IdentificationDataModule, Raw
from lantu.errors import UserError

WORDS = {"eng": "freedom", "fra": "liberté", "rus": "свобода", "short": "x"}


def source() -> Raw:
    texts = {
        name: "\n".join(f"{word} {number} {word[::-1]}" for number in range(90 if len(word) > 1 else 3))
        for name, word in WORDS.items()
    }
    texts["eng"] += "\n12\nfreedom 0 modeerf"  # a line without a letter; a paragraph of the beginning, again at the end
    rows = pd.DataFrame({"language": list(texts), "text": list(texts.values())})
    return Raw(name="made", rows=rows, split=rows["language"].map(lambda _: "train").to_numpy(dtype="<U5"))


def module(**options: Any) -> IdentificationDataModule:
    made = IdentificationDataModule(source=source, level="char", split={"val": 0.1, "test": 0.2}, **options)
    made.setup("fit")
    return made


def test_languages_have_their_scripts_and_short_ones_are_left_out() -> None:
    made = module(length=40)
    assert made.languages == ["eng", "fra", "rus"]
    assert made.scripts == ["Latin", "Latin", "Cyrillic"]
    assert made.spec["classes"] == 3
    assert "1 language with little text left out: short" in made.report.lines()


def test_stretches_are_cut_between_words_and_each_part_is_a_place_in_the_text() -> None:
    made = module(length=40)
    rows = made._origin.rows.assign(part=made._origin.split)
    assert rows["text"].str.len().max() <= 40
    english = {part: " ".join(rows["text"][(rows["language"] == "eng") & (rows["part"] == part)]) for part in
               ("train", "val", "test")}  # fmt: skip
    assert "freedom 1 modeerf" in english["train"]
    assert "freedom 89 modeerf" in english["test"]
    assert "freedom 0 modeerf" in english["test"]
    assert "freedom 0 modeerf" not in english["train"]
    assert all("12 " not in text.split("freedom 12 ")[0] for text in english.values())


@pytest.mark.parametrize(
    ("options", "said"), [({"length": 0}, "at least 1 character"), ({"shortest": 10**9}, "data.shortest"),
                          ({"text": "words"}, "no column 'words'")],
)  # fmt: skip
def test_a_mistake_is_a_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        module(**options)
