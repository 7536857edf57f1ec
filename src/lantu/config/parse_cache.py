"""Parse each interpolation once.

OmegaConf parses `${paths.root}` anew whenever it is resolved, with a grammar in pure Python: half of the time that
checking a config takes. A parse tree is only read, so the same text can share one.
"""

from functools import lru_cache

from omegaconf import base

DISTINCT = 4096
"""Texts whose parse trees are kept; all of conf/ has some hundred."""


def keep_parse_trees() -> None:
    """Let OmegaConf reuse parse trees in this process; nothing is done where it no longer parses in this way."""
    parse = getattr(base, "parse", None)
    if parse is not None and not hasattr(parse, "cache_info"):
        base.parse = lru_cache(DISTINCT)(parse)
