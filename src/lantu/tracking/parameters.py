"""Parameters as MLflow shows them: dotted names and text of bounded length."""

from collections.abc import Mapping
from typing import Any

LONGEST_PARAM = 6000
LONGEST_TAG = 5000  # servers differ between 5,000 and 8,000


def flatten(params: Mapping[Any, Any], prefix: str = "") -> dict[str, str]:
    """Every leaf with its dotted name, as text; an empty mapping is a leaf too, and lists are text as they
    are."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = as_text(value)
    return flat


def as_text(value: Any) -> str:
    """A value as text that every store takes: PostgreSQL refuses NUL, and none takes half a surrogate pair."""
    return str(value).replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()


def shorten(text: str, limit: int, whole: str) -> str:
    """The start of a text that is too long, and where the whole of it is."""
    end = f"… ({len(text):,} characters, whole in the artifact {whole})"
    return text[: limit - len(end)] + end
