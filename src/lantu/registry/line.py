"""One line of a decision: a claim, its interval, its limit, its source, and how to meet it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["met", "not met", "not known"]


@dataclass(frozen=True)
class Line:
    """One gate's result."""

    gate: str
    verdict: Verdict
    claim: str
    """What was found, in a sentence."""
    limit: str
    source: str
    """Where the figures are from."""
    remedy: str = ""
    """How to meet it, as a command or a number of examples."""
    usd: float | None = None
    """What the missing evidence costs; None: not known, or nothing is missing."""
    examples: int | None = None
    """Further examples that would decide."""
    room: float | None = None
    """How far the estimate is within the limit, or below 0 beyond it."""
    metric: str = ""
    """Whose difference decides, such as test/loss."""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
