"""Answer waiting requests together: whatever has arrived while the model was busy is its next batch."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lantu.serving.http.served import Prepared, Record, ServedModel

QUICK = 0.01
"""Seconds: a model whose batch takes less is called in the event loop.

In a thread it would wait for Python's lock while the loop reads requests, up to 5 ms each time.
"""


SMALL = 1 << 16
"""Bytes of the requests of such a batch; a text of megabytes takes seconds to cut into tokens."""


class Overloaded(Exception):
    """More requests wait than the server takes."""


@dataclass
class _Waiting:
    prepare: Callable[[ServedModel], Prepared]
    rows: int
    size: int
    answer: asyncio.Future[tuple[list[Record], ServedModel]]


class Batcher:
    """Collects requests and answers them with the current model, one batch at a time.

    Nothing waits for a batch to fill: with one client each request is answered at once, and with many the batch grows
    by itself (opportunistic batching).

    Args:
        current: gives the model to answer with; asked once for each batch, so that a reload never divides a request.
        max_batch: rows of a batch.
        max_waiting: requests that may wait.
        observe: is told the rows and the seconds of each batch.
    """

    def __init__(
        self,
        current: Callable[[], ServedModel],
        *,
        max_batch: int = 64,
        max_waiting: int = 256,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self._current = current
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._seconds = 1.0  # of a batch, as last measured: the first ones are called in the thread
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Requests that wait for an answer."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to answer; in a running event loop."""
        self._worker = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Answer what waits, then end."""
        while self._waiting:
            await asyncio.sleep(0.01)
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=True)

    async def ask(
        self, prepare: Callable[[ServedModel], Prepared], rows: int, *, size: int = 0
    ) -> tuple[list[Record], ServedModel]:
        """The answers to a request, and the model that gave them.

        Args:
            prepare: makes the model's inputs of the request.
            rows: how many there are.
            size: bytes of the request.

        Raises:
            Overloaded: too many requests wait.
        """
        if len(self._waiting) >= self.max_waiting:
            raise Overloaded
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(prepare, rows, size, answer))
        self._arrived.set()
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(0)  # let others that have arrived join
            batch = self._next()
            if not batch:
                self._arrived.clear()
                continue
            model = self._current()
            began = time.perf_counter()
            if self._seconds < QUICK and sum(each.size for each in batch) < SMALL:
                results = _answers(model, batch)
            else:
                results = await loop.run_in_executor(self._thread, _answers, model, batch)
            self._seconds = time.perf_counter() - began
            self._observe(sum(each.rows for each in batch), self._seconds)
            for each, result in zip(batch, results, strict=True):
                if each.answer.done():  # the client has gone, or its time was up
                    continue
                if isinstance(result, BaseException):
                    each.answer.set_exception(result)
                else:
                    each.answer.set_result((result, model))

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self.max_batch):
            each = self._waiting.popleft()
            if not each.answer.done():
                batch.append(each)
                rows += each.rows
        return batch


def _answers(model: ServedModel, batch: list[_Waiting]) -> list[list[Record] | BaseException]:
    """The answer to each request of a batch, or the error that is its own."""
    results: list[Any] = [None] * len(batch)
    ready: list[tuple[int, Prepared]] = []
    for place, each in enumerate(batch):
        try:
            ready.append((place, each.prepare(model)))
        except Exception as error:
            results[place] = error
    if ready:
        try:
            answered: list[Any] = list(model.answer([prepared for _, prepared in ready]))
        except Exception as error:  # of one request or of all: ask again one by one
            answered = [error] if len(ready) == 1 else [_alone(model, prepared) for _, prepared in ready]
        for (place, _), result in zip(ready, answered, strict=True):
            results[place] = result
    return results


def _alone(model: ServedModel, prepared: Prepared) -> list[Record] | Exception:
    try:
        return model.answer([prepared])[0]
    except Exception as error:
        return error
