"""Handle Ctrl-C reliably.

Python raises KeyboardInterrupt wherever it is executing. Inside a weakref callback or `__del__` the exception is only
printed, and a library's bare `except` discards it, so the program would continue. Here the signal handler also sets a
flag, and code that is certain to run raises the exception again.
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
def interruptible() -> Iterator[None]:
    """Record Ctrl-C; a second one ends the process at once, even if it hangs.

    The second has the effect of `kill -9`: runs and sweeps can resume from their checkpoints. The context does nothing
    outside the main thread, inside another `interruptible`, or if SIGINT has another handler, as under `nohup`.
    """
    global _is_asked  # noqa: PLW0603 - a process has one terminal
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _is_asked = False
    hook = sys.unraisablehook

    def quietly(unraisable: "sys.UnraisableHookArgs") -> None:
        if not (_is_asked and issubclass(unraisable.exc_type, KeyboardInterrupt)):  # else raise_if_asked raises it
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
    """Raise KeyboardInterrupt if Ctrl-C was pressed and the original exception was lost."""
    if _is_asked:
        raise KeyboardInterrupt


def let_the_next_one_end_it() -> None:
    """Make a second Ctrl-C end the process again, after a library has set SIGINT to be ignored during its shutdown."""
    if _is_asked and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _note(number: int, frame: FrameType | None) -> Any:
    global _is_asked  # noqa: PLW0603
    _is_asked = True
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt
