import random

import pytest
from mlflow.utils.validation import _validate_metric_name

from lantu.tracking.names import LONGEST, from_mlflow, is_cut, to_mlflow

ODD = [
    "accuracy@5",
    "a//b",
    "/a",
    "a/",
    "..",
    ".",
    "a/../b",
    "",
    "loss[0]",
    "_x40_",
    "_x@",
    "_x/",
    "x_",
    "100%",
    "a\nb",
    "é/损失",
    "😀",
]


@pytest.mark.parametrize("name", ODD)
def test_any_name_is_accepted_by_mlflow_and_comes_back(name: str) -> None:
    _validate_metric_name(to_mlflow(name))
    assert from_mlflow(to_mlflow(name)) == name


def test_random_names_are_accepted_and_come_back_and_stay_different() -> None:
    dice = random.Random(0)
    names = {"".join(dice.choice("_x40AF/.@ :a-é%") for _ in range(dice.randrange(12))) for _ in range(20_000)}
    for name in names:
        _validate_metric_name(to_mlflow(name))
        assert from_mlflow(to_mlflow(name)) == name
    assert len({to_mlflow(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["val/loss", "test/accuracy", "optimizer.lr", "lr-AdamW", "grad_x/max", "a b:c"])
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert to_mlflow(name) == name


def test_names_beyond_the_limit_are_cut_and_stay_different() -> None:
    one, other = "a" * 300 + "1", "a" * 300 + "2"
    assert len(to_mlflow(one)) == LONGEST
    assert to_mlflow(one) != to_mlflow(other)
    assert is_cut(one)
    assert not is_cut("a" * LONGEST)
