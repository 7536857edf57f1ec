"""What the record has to tell the person at the terminal: one sentence, once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lantu.escaping import for_terminal
from lantu.redaction import redact

_printed: set[str] = set()
_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def warn_once(sentence: str) -> None:
    """Print a sentence on standard error, unless this process has said it before; or add it to those `collected`."""
    if (sentences := _collected.get()) is not None:
        sentences.append(sentence)
    elif sentence not in _printed:
        _printed.add(sentence)
        print(f"lantu: {for_terminal(redact(sentence))}", file=sys.stderr, flush=True)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the sentences of a block instead of printing them: a server's log must not quote what it was sent."""
    sentences: list[str] = []
    token = _collected.set(sentences)
    try:
        yield sentences
    finally:
        _collected.reset(token)
