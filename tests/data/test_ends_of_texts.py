"""Of a text of megabytes no more is tokenised than the model sees, and what it sees is the same."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lantu.data.text.ends_of_texts import encode_beginnings, encode_end
from lantu.data.text.vocabulary import Bytes, Characters, Subwords, Vocabulary

_TEXT = "the quick, brown fox; jumps over a lazy dog's back -- naïve 北京 1234 supercalifragilistic (x)"
WORDS = _TEXT.split(" ")


def written(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + draw.choice([" ", " ", " ", "\n", "  ", ". "]) for _ in range(count))


@pytest.fixture(scope="module")
def vocabularies() -> dict[str, Vocabulary]:
    texts = [written(seed, 200) for seed in range(20)]
    made: dict[str, Vocabulary] = {
        level: Subwords.of(texts, level=level, size=400, min_count=1) for level in ("word", "bpe", "wordpiece", "char")
    }
    return {**made, "byte": Bytes(), "characters": Characters("".join(sorted(set("".join(texts)))), unknown=True)}


KINDS = ("word", "bpe", "wordpiece", "char", "byte", "characters")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(drawn=st.tuples(st.integers(0, 10**6), st.integers(0, 3000), st.integers(1, 80), st.booleans()))
def test_the_tokens_that_a_model_sees_are_those_of_the_whole_text(
    vocabularies: dict[str, Vocabulary], kind: str, drawn: tuple[int, int, int, bool]
) -> None:
    vocabulary, (seed, count, most, spaced) = vocabularies[kind], drawn
    text = written(seed, count) if spaced else "".join(written(seed, count).split())
    for each, beginning in zip([text, "a"], encode_beginnings(vocabulary, [text, "a"], most), strict=True):
        assert beginning[:most] == vocabulary.encode_all([each])[0][:most]
    assert encode_end(vocabulary, text, most).tolist() == vocabulary.encode(text)[-most:].tolist()


class Counted:
    """A vocabulary that counts the characters it is given."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary, self.read = vocabulary, 0

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        self.read += sum(map(len, texts))
        return self._vocabulary.encode_all(texts)

    def encode(self, text: str) -> Any:
        self.read += len(text)
        return self._vocabulary.encode(text)


@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_of_megabytes_a_few_thousand_characters_are_read(vocabularies: dict[str, Vocabulary], kind: str) -> None:
    for text in (written(0, 200) * 1000, "x1" * 500_000) if kind == "bpe" else (written(0, 200) * 1000,):
        counted: Any = Counted(vocabularies[kind])
        encode_beginnings(counted, [text], 64)
        encode_end(counted, text, 64)
        assert len(text) >= 1_000_000
        assert counted.read < 20_000
