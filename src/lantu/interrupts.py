"""Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever it happens to be. Inside a weakref callback or a `__del__` it is then printed
and swallowed, as it is by a library's bare `except`, and the work goes on as if nobody had asked. So the request is
noted first, and places that are certain to be reached raise it again.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_is_asked = False


@contextmanager
def heard() -> Iterator[None]:
    """Note every Ctrl-C; a second one ends the process there and then, also one that is stuck.

    What is left behind is as after `kill -9`: runs and sweeps go on from their checkpoints. Nothing is changed off the
    main thread, inside another `heard`, or where somebody else listens, as under `nohup`.
    """
    global _is_asked  # noqa: PLW0603 - a process has one terminal
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _is_asked = False
    hook = sys.unraisablehook

    def quietly(unraisable: "sys.UnraisableHookArgs") -> None:
        if not (_is_asked and issubclass(unraisable.exc_type, KeyboardInterrupt)):  # else it is raised again
            hook(unraisable)

    signal.signal(signal.SIGINT, _note)
    sys.unraisablehook = quietly
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _is_asked = False


def raise_if_asked() -> None:
    """Raise KeyboardInterrupt when Ctrl-C was pressed and what it raised got lost on its way."""
    if _is_asked:
        raise KeyboardInterrupt


def let_the_next_one_end_it() -> None:
    """Undo a library that wants to hear no second Ctrl-C while it shuts down."""
    if _is_asked and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _note(number: int, frame: FrameType | None) -> Any:
    global _is_asked  # noqa: PLW0603
    _is_asked = True
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt
