"""Measures of written text, against counting by hand."""

import itertools
import random

import pytest

from lantu.tasks.text_quality import measures


def test_measures_of_a_small_text_are_what_one_counts_by_hand() -> None:
    found = measures("the cat sat. the cat sat. a dog", training="Then the cat sat. A dog sat.")
    # 10 words, of which different: the cat sat . a dog; pairs: the-cat cat-sat sat-. .-the .-a a-dog, of 9
    assert found["distinct_1"] == pytest.approx(6 / 10)
    assert found["distinct_2"] == pytest.approx(6 / 9)
    # of 7 fours, the first comes again; of the six others none was read
    assert found["repetition"] == pytest.approx(1 / 7)
    assert found["novel_4grams"] == pytest.approx(5 / 7)


def test_measures_agree_with_sets_of_words_on_random_text() -> None:
    draw = random.Random(0)
    training, text = (draw.choices("abcdefg", k=number) for number in (800, 300))

    def fours(words: list[str]) -> list[tuple[str, ...]]:
        return [tuple(words[place : place + 4]) for place in range(len(words) - 3)]

    found = measures(" ".join(text), " ".join(training))
    read = set(fours(training))
    assert found["distinct_2"] == pytest.approx(len(set(itertools.pairwise(text))) / 299)
    assert found["repetition"] == pytest.approx(1 - len(set(fours(text))) / 297)
    assert found["novel_4grams"] == pytest.approx(sum(four not in read for four in fours(text)) / 297)
    assert 0 < found["novel_4grams"] < 1


def test_what_is_copied_is_not_novel_and_what_goes_round_is_repeated() -> None:
    text = "to be or not to be, that is the question"
    assert measures(text, training=f"He said {text}.")["novel_4grams"] == 0
    assert measures("ha " * 100, training=text)["repetition"] == pytest.approx(96 / 97)


def test_scripts_without_spaces_are_counted_by_character() -> None:
    assert measures("蓝图蓝图", training="")["distinct_1"] == 0.5


def test_too_short_a_text_has_no_measures() -> None:
    assert measures("", training="a") == {}
    assert measures("one two", training="a").keys() == {"distinct_1", "distinct_2"}
