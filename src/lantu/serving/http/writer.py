"""Write the texts of several requests at once, with continuous batching where the network's cache allows it."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lantu.models.running_batch import RunningBatch, Sequence
from lantu.serving.http.batching import Overloaded
from lantu.serving.http.served import ServedModel


@dataclass(frozen=True)
class Piece:
    """Part of a text."""

    index: int
    """Of the text among those of its request."""
    text: str
    tokens: int
    """Written so far."""
    reason: str | None = None
    """Why the text ends with this piece, in OpenAI's words: stop or length."""


@dataclass(eq=False)
class Text:
    """One text to write."""

    model: ServedModel
    prompt: str
    index: int
    options: dict[str, Any]
    """tokens, stop, temperature, top_k, top_p, repetition_penalty, generator."""
    deliver: Callable[[Piece | BaseException], None]
    cancelled: bool = False
    tokens: int = 0
    sequence: Sequence | None = None
    writing: Any = None
    pieces: Iterator[str] | None = None

    @property
    def most(self) -> int:
        """Tokens at most."""
        return int(self.model.task.most_tokens(self.options["tokens"]))


@dataclass
class Group:
    """The texts of one model; after a reload the old model finishes those that it has begun."""

    model: ServedModel
    batch: RunningBatch | None
    """None: the network's cache holds one sequence, so texts take turns by tokens."""
    texts: list[Text] = field(default_factory=list)

    def begin(self, text: Text) -> None:
        """Let a text begin; raises what is wrong with its prompt or options."""
        task, data = self.model.task, self.model.data
        options = {name: value for name, value in text.options.items() if name not in ("tokens", "stop")}
        stop = text.options["stop"]
        if self.batch is None:
            coders = (data.encode, data.decode)
            text.pieces = task.stream(*coders, prompt=text.prompt, tokens=text.most, stop=stop, **options)
        else:
            known, text.writing = task.begin(data.encode, data.decode, prompt=text.prompt, stop=stop)
            text.sequence = Sequence(known.tolist(), **options)
            self.batch.join(text.sequence)
        self.texts.append(text)

    def step(self) -> None:
        """Write a token of each text."""
        for text in [each for each in self.texts if each.cancelled]:
            self._end(text)
        if self.batch is None:
            for text in [*self.texts]:
                self._next_piece(text)
            return
        by_sequence = {text.sequence: text for text in self.texts}
        for sequence, token in self.batch.step():
            text = by_sequence[sequence]
            text.tokens += token != text.model.task.end_id
            piece = text.writing.add(token)
            reason = "stop" if text.writing.ended else "length" if text.tokens >= text.most else None
            if reason == "length":
                piece += text.writing.rest()
            if piece or reason:
                text.deliver(Piece(text.index, piece, text.tokens, reason))
            if reason:
                self._end(text)

    def _next_piece(self, text: Text) -> None:
        assert text.pieces is not None
        try:
            piece = next(text.pieces, None)
        except Exception as error:  # of this text's options
            text.deliver(error)
            self._end(text)
            return
        text.tokens += len(self.model.data.encode(piece)) if piece else 0
        reason = None if piece is not None else "length" if text.tokens >= text.most else "stop"
        text.deliver(Piece(text.index, piece or "", text.tokens, reason))
        if reason:
            self._end(text)

    def _end(self, text: Text) -> None:
        self.texts.remove(text)
        if self.batch is not None and text.sequence is not None:
            self.batch.leave(text.sequence)


class Writer:
    """A thread that writes the texts of all requests, a token of each at a time.

    Args:
        most: texts that are written at once.
        max_waiting: texts that may wait.
        observe: is told the texts and the seconds of each step.
    """

    def __init__(
        self,
        *,
        most: int = 16,
        max_waiting: int = 256,
        observe: Callable[[int, float], None] = lambda texts, seconds: None,
    ) -> None:
        self.most = most
        self.max_waiting = max_waiting
        self._observe = observe
        self._waiting: deque[Text] = deque()
        self._groups: list[Group] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Texts that have not begun."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End when all texts are written."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def write(
        self, model: ServedModel, prompts: list[str], options: list[dict[str, Any]]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of the texts that follow some prompts, as they are written.

        Closing the iterator gives the texts' places to others.

        Args:
            options: of each prompt.

        Raises:
            Overloaded: too many texts wait.
            UserError: a prompt holds no token, or an option is out of its range.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Piece | BaseException]()

        def deliver(found: Piece | BaseException) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, found)

        texts = [
            Text(model, prompt, number, each, deliver)
            for number, (prompt, each) in enumerate(zip(prompts, options, strict=True))
        ]
        with self._changed:
            if len(self._waiting) + len(texts) > self.max_waiting:
                raise Overloaded
            self._waiting.extend(texts)
            self._changed.notify()
        left = len(texts)
        try:
            while left:
                found = await queue.get()
                if isinstance(found, BaseException):
                    raise found
                left -= found.reason is not None
                yield found
        finally:
            for text in texts:
                text.cancelled = True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._groups or self._stopped)
                if self._stopped and not self._waiting and not self._groups:
                    return
                room = self.most - sum(len(each.texts) for each in self._groups)
                coming = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            for text in coming:
                self._begin(text)
            for group in self._groups:
                self._step(group)
            self._groups = [each for each in self._groups if each.texts]

    def _begin(self, text: Text) -> None:
        if text.cancelled:
            return
        try:
            self._group(text.model).begin(text)
        except Exception as error:
            text.deliver(error)

    def _group(self, model: ServedModel) -> Group:
        for group in self._groups:
            if group.model is model:
                return group
        net, context = model.task.net, model.task.context
        batch = RunningBatch(net, rows=self.most, context=context) if RunningBatch.can_run(net) else None
        self._groups.append(Group(model, batch))
        return self._groups[-1]

    def _step(self, group: Group) -> None:
        began, texts = time.perf_counter(), len(group.texts)
        try:
            group.step()
        except Exception as error:  # of the network: none of its texts can go on
            for text in group.texts:
                text.deliver(error)
            group.texts = []
        if texts:
            self._observe(texts, time.perf_counter() - began)
