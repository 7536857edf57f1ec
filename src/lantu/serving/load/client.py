"""Send requests in a closed or an open loop, and measure how long answers take.

A closed loop (a number of clients, each of which asks again when it has its answer) finds the throughput. It hides
waiting: a server that stalls is asked less in the meantime ("coordinated omission", Tene 2013). An open loop sends at a
fixed rate whatever the server does, and a request's time counts from when it was due, not from when it was sent.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import aiohttp
import numpy as np

MOST_IN_FLIGHT = 1000
"""Requests of an open loop that may be under way; further ones count as errors, as they would for users."""


@dataclass(frozen=True)
class Body:
    """One request: content, its type and how many inputs it holds."""

    content: bytes
    kind: str = "application/json"
    rows: int = 1


@dataclass
class Measured:
    """What one loop found."""

    loop: str
    """closed or open."""
    clients: int | None = None
    rate: float | None = None
    """Requests a second that an open loop sent."""
    seconds: float = 0.0
    requests: int = 0
    rows: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    """By status or by kind of failure."""
    per_second: float = 0.0
    """Requests that were answered."""
    rows_per_second: float = 0.0
    ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds: mean, p50, p95, p99, max."""

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


class _Loop:
    def __init__(
        self, url: str, bodies: Sequence[Body], headers: dict[str, str], check: Callable[[int, bytes], str] | None
    ) -> None:
        self.url, self.bodies, self.headers, self.check = url, bodies, headers, check
        self.times: list[float] = []
        self.errors: Counter[str] = Counter()
        self.rows = 0

    async def ask(self, session: aiohttp.ClientSession, number: int, due: float | None = None) -> None:
        place = number % len(self.bodies)
        body = self.bodies[place]
        began = time.perf_counter() if due is None else due
        try:
            headers = {**self.headers, "Content-Type": body.kind}
            async with session.post(self.url, data=body.content, headers=headers) as reply:
                answer = await reply.read()
                problem = str(reply.status) if reply.status != 200 else self.check(place, answer) if self.check else ""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = type(error).__name__
        if problem:
            self.errors[problem] += 1
            return
        self.times.append(time.perf_counter() - began)
        self.rows += body.rows

    def measured(self, name: str, seconds: float, **options: Any) -> Measured:
        ms = np.array(self.times) * 1000
        found = Measured(name, seconds=seconds, requests=len(ms) + sum(self.errors.values()), rows=self.rows, **options)
        found.errors = dict(self.errors)
        found.per_second, found.rows_per_second = len(ms) / seconds, self.rows / seconds
        if len(ms):
            p50, p95, p99 = np.percentile(ms, [50, 95, 99], method="higher")
            found.ms = {"mean": ms.mean(), "p50": p50, "p95": p95, "p99": p99, "max": ms.max()}
            found.ms = {name: round(float(value), 4) for name, value in found.ms.items()}
        return found


async def closed_loop(
    url: str,
    bodies: Sequence[Body],
    *,
    clients: int,
    seconds: float,
    requests: int | None = None,
    headers: dict[str, str] | None = None,
    check: Callable[[int, bytes], str] | None = None,
) -> Measured:
    """Clients that each ask again when they have their answer.

    Args:
        bodies: taken in turn.
        clients: how many at once.
        seconds: how long, unless `requests` is reached before.
        requests: at most so many; None: no limit.
        check: is given a body's number and the answer; says what is wrong with it, or nothing.
    """
    loop = _Loop(url, bodies, headers or {}, check)
    numbers = count()
    async with _session() as session:
        began = time.perf_counter()

        async def client() -> None:
            while time.perf_counter() - began < seconds:
                number = next(numbers)
                if requests is not None and number >= requests:
                    return
                await loop.ask(session, number)

        await asyncio.gather(*(client() for _ in range(clients)))
        return loop.measured("closed", time.perf_counter() - began, clients=clients)


async def open_loop(
    url: str,
    bodies: Sequence[Body],
    *,
    rate: float,
    seconds: float,
    headers: dict[str, str] | None = None,
    check: Callable[[int, bytes], str] | None = None,
) -> Measured:
    """Requests at a fixed rate, each timed from the moment at which it was due.

    Args:
        rate: requests a second.
        bodies, seconds, check: as in `closed_loop`.
    """
    loop = _Loop(url, bodies, headers or {}, check)
    under_way: set[asyncio.Task[None]] = set()
    async with _session() as session:
        began = time.perf_counter()
        for number in range(max(1, int(rate * seconds))):
            due = began + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if len(under_way) >= MOST_IN_FLIGHT:
                loop.errors["too many under way"] += 1
                continue
            task = asyncio.create_task(loop.ask(session, number, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        return loop.measured("open", time.perf_counter() - began, rate=rate)


def _session() -> aiohttp.ClientSession:
    connections = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    return aiohttp.ClientSession(connector=connections, timeout=aiohttp.ClientTimeout(total=60))
