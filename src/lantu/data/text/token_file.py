"""Token numbers in a cache file: an array (M,) of uint16 or uint32 for each part of the data, and facts about them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lantu.data import cache_file
from lantu.data.cache_file import UNUSED_DAYS, Mapped, cached_plain

__all__ = ["UNUSED_DAYS", "Mapped", "cached_plain", "cached_tokens"]

Parts = dict[str, Iterator[np.ndarray]]


class TokenFile:
    """A file of tokens, opened."""

    def __init__(self, file: cache_file.CacheFile) -> None:
        self.facts = file.facts
        """What was said about the parts when they were written."""
        self.parts = file.arrays
        """Token numbers (M,) of each part."""


def cached_tokens(
    path: Path, make: Callable[[], tuple[Parts, Callable[[], dict[str, Any]]]], *, size: int
) -> TokenFile:
    """The file at `path`, written first unless it is there and whole.

    Args:
        path: of a file; its name tells what is in it, so that other content has another name.
        make: gives the tokens of each part, a few at a time, and afterwards facts about them, as JSON can hold them.
        size: how many different tokens there are; up to 65,536 of them take two bytes each, more take four.

    Raises:
        UserError: the folder cannot be written.
    """
    kind = "U16" if size <= 2**16 else "U32"

    def arrays() -> tuple[cache_file.Arrays, Callable[[], dict[str, Any]]]:
        parts, facts = make()
        return {name: (kind, blocks) for name, blocks in parts.items()}, facts

    return TokenFile(cache_file.cached(path, arrays))
