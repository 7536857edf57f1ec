"""Where the server prepares requests: small ones in its event loop, large ones where they hold up nobody."""

import asyncio
import threading
from typing import Any

import pytest

from lantu.serving.http import batching


class Echo:
    """A model that answers at once."""

    def answer(self, prepared: list[Any]) -> list[list[dict[str, Any]]]:
        return [[{"thread": each}] for each in prepared]


def test_a_large_request_is_prepared_outside_the_event_loop_also_by_a_quick_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "QUICK", float("inf"))

    async def threads() -> list[str]:
        batcher = batching.Batcher(Echo)  # type: ignore[arg-type, return-value]
        batcher.start()
        found = []
        for size in (10, batching.SMALL, 10):
            answers, _ = await batcher.ask(lambda model: threading.current_thread().name, 1, size=size)  # type: ignore[arg-type, return-value]
            found.append(answers[0]["thread"].partition("_")[0])
        await batcher.stop()
        return found

    assert asyncio.run(threads()) == ["MainThread", "model", "MainThread"]
