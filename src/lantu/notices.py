"""What the record has to tell the person at the terminal: one sentence, once."""

import sys

from lantu.redaction import redact

_printed: set[str] = set()


def warn_once(sentence: str) -> None:
    """Print a sentence on standard error, unless this process has said it before."""
    if sentence not in _printed:
        _printed.add(sentence)
        print(f"lantu: {redact(sentence)}", file=sys.stderr, flush=True)
