"""What this machine's processor can do, without importing torch."""

import re
from functools import cache
from pathlib import Path

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls bf16 arithmetic of processors: the first two are those of x86, the last is ARM's."""


def cpu_has_bf16() -> bool | None:
    """Whether this processor has bf16 arithmetic of its own; None where that is not known."""
    flags = _cpu_flags()
    return bool(flags & BF16_FLAGS) if flags else None


@cache
def _cpu_flags() -> frozenset[str]:
    """What this processor can do, as Linux names it; empty elsewhere."""
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found.group(1).split()) if found else frozenset()
