"""Ranks ask each other at the same steps, about once a second."""

from types import SimpleNamespace
from typing import Any

import pytest

from lantu import intervals
from lantu.intervals import RankSync

Clock = SimpleNamespace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(intervals, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def asked_at(clock: Clock, seconds_a_step: list[float], said: list[Any], *, listen: bool = False) -> list[int]:
    """The steps at which a rank of two asks; `said` is what rank zero says, or has said."""

    def broadcast(value: Any) -> Any:
        if listen:
            return said.pop(0)
        said.append(value)
        return value

    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(broadcast=broadcast))
    asking, steps = RankSync(), []
    for step, seconds in enumerate(seconds_a_step):
        if asking.is_time(trainer):
            steps.append(step)
        clock.now += seconds
    return steps


def test_ranks_ask_once_a_second_and_at_every_step_that_is_longer(clock: Clock) -> None:
    assert asked_at(clock, [0.125] * 40, []) == [0, 1, 9, 17, 25, 33]
    assert asked_at(clock, [2.0] * 5, []) == [0, 1, 2, 3, 4]
    assert asked_at(clock, [0.001] * 200 + [5.0] * 40, [])[-18:] == [*range(222, 240)]


def test_a_slower_rank_asks_at_the_steps_of_rank_zero(clock: Clock) -> None:
    said: list[Any] = []
    first = asked_at(clock, [0.125] * 40, said)
    assert asked_at(clock, [0.3] * 40, said, listen=True) == first


def test_a_process_alone_asks_at_every_step() -> None:
    asking, alone = RankSync(), SimpleNamespace(world_size=1)
    assert all(asking.is_time(alone) for _ in range(5))
