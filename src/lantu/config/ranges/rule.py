"""What an option may be, in words and as a test, and the rules that many options share."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGEST_SEED = 2**32 - 1
"""NumPy's generators take no larger one."""
LARGEST_INTEGER = 2**53
"""Integers beyond this are not exact as floats, and no count here comes near it."""


@dataclass(frozen=True)
class Rule:
    """The values that an option takes; `a | b` takes what either takes."""

    description: str
    accepts: Callable[[Any], bool]

    def __or__(self, other: "Rule") -> "Rule":
        return Rule(
            f"{self.description}, or {other.description}", lambda value: self.accepts(value) or other.accepts(value)
        )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; booleans are not."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer beyond what a float holds
        return False


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False) -> Rule:
    """A finite number between two limits; `above` and `below` leave the limits themselves out."""

    def accepts(value: Any) -> bool:
        return (
            is_number(value) and (value > low if above else value >= low) and (value < high if below else value <= high)
        )

    return Rule(_describe_limits("a number", low, high, above=above, below=below), accepts)


def integer(low: int, high: int = LARGEST_INTEGER) -> Rule:
    """An integer between two limits, both included."""
    description = _describe_limits("a whole number", low, math.inf if high == LARGEST_INTEGER else high)
    return Rule(description, lambda value: type(value) is int and low <= value <= high)


def one_of(*words: str) -> Rule:
    """One of some words."""
    listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    return Rule(listed, words.__contains__)


def list_of(rule: Rule, *, length: int | None = None, least: int = 1) -> Rule:
    """A list whose items follow a rule: exactly `length` of them, or at least `least`."""
    size = f"{length} of them" if length is not None else f"at least {least}" if least else "any number of them"
    return Rule(
        f"a list ({size}) of which each is {rule.description}",
        lambda value: (
            isinstance(value, list)
            and (len(value) == length if length is not None else len(value) >= least)
            and all(map(rule.accepts, value))
        ),
    )


def _describe_limits(kind: str, low: float, high: float, *, above: bool = False, below: bool = False) -> str:
    if low == high:
        return f"{low:g}"
    lower = f"above {low:g}" if above else f"{low:g} or more"
    upper = f"below {high:g}" if below else f"at most {high:.10g}"
    if math.isinf(low) and math.isinf(high):
        return kind
    if math.isinf(high):
        return f"{kind}, {lower}"
    return f"{kind} {lower} and {upper}" if above or below else f"{kind} from {low:g} to {high:.10g}"


def _is_count_as_text(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and int(value[:9]) > 0


def _is_clock(value: Any) -> bool:
    parts = value.split(":") if isinstance(value, str) else []
    return 3 <= len(parts) <= 4 and all(part.isascii() and part.isdigit() for part in parts)


NULL = Rule("null", lambda value: value is None)
BOOLEAN = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("text", lambda value: isinstance(value, str) and "\0" not in value)
NONEMPTY_TEXT = Rule("text", lambda value: TEXT.accepts(value) and value.strip() != "")
MAPPING = Rule("a mapping such as {a: 1}", lambda value: isinstance(value, dict))
POSITIVE, NONNEGATIVE = number(0, above=True), number(0)
AMOUNT = NONNEGATIVE | list_of(NONNEGATIVE)
FRACTION, FRACTION_BELOW_1 = number(0, 1), number(0, 1, below=True)
COUNT = integer(1, 10**9)
COUNT_OR_TEXT = Rule(COUNT.description, lambda value: COUNT.accepts(value) or _is_count_as_text(value))
FRACTION_OF_BATCHES = Rule("a share above 0.0, at most 1.0", lambda value: type(value) is float and 0 < value <= 1)
"""Only a float: the integer 1 means one batch."""
BATCHES = integer(0) | Rule("a share of them from 0.0 to 1.0", lambda value: type(value) is float and 0 <= value <= 1)
CLOCK = Rule("a time such as 00:12:00:00", _is_clock)
