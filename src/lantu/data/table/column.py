"""What training learns of one column of a table: how its values become features."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from lantu.data import dates
from lantu.data.table.target_features import TargetFeatures
from lantu.data.table.text_features import TextFeatures

QUANTILE_LEVELS = np.linspace(0.005, 0.995, 100)
"""Of the quantiles that ranks are looked up in."""
_YEAR, _WEEK, _DAY = 365.2425 * 86_400, 7 * 86_400, 86_400
CYCLES = {"year": _YEAR, "week": _WEEK, "day": _DAY}
"""Seconds of each cycle that a date has a phase in; the week begins with the Thursday of 1970."""


@dataclass(frozen=True)
class Column:
    """How one column becomes features.

    A number or date becomes (value - mean) / std, or, with quantiles, the normal score of its rank in training. A
    missing one is replaced by the median, and a further feature marks it if training had missing values. A date has its
    phase in the year, the week and the day besides, as sine and cosine. A category becomes one feature per value seen
    in training. A value that was not seen, or is missing, has a feature of its own if training had such values, and is
    all zeros otherwise. A column with many categories has the mean target of the value's training rows and their number
    besides. A number with edges has, for each piece between two of them, how far through it lies. Text becomes the
    principal components of its words' TF-IDF weights.
    """

    name: str
    kind: Literal["number", "category", "date", "boolean", "text"]
    type: str
    """Of its values, as MLflow calls it: double, long, boolean, string or datetime."""
    mean: float = 0.0
    std: float = 1.0
    median: float = 0.0
    quantiles: list[float] = field(default_factory=list)
    """At QUANTILE_LEVELS; empty: the number is standardised."""
    categories: list[str] = field(default_factory=list)
    marks_missing: bool = False
    decimal: str = "."
    """The decimal sign of its numbers."""
    unit: str = ""
    """What follows its numbers, such as kg."""
    format: str = dates.ISO
    """Of its dates."""
    cycles: list[str] = field(default_factory=list)
    """Of CYCLES: those that a date has features for."""
    binary: bool = False
    """Whether a number was 0 or 1 in training: then true, no and the like are read too."""
    scales: bool = False
    """Whether a number with quantiles is standardised too, as a feature before that of its rank."""
    rare: float = 0.0
    """The share of the training values that have no feature of their own."""
    others: bool = False
    """Whether there are categories without a feature of their own; they share one."""
    text: dict[str, Any] = field(default_factory=dict)
    """The state of `TextFeatures`; empty: the column's words have no features."""
    woe: dict[str, Any] = field(default_factory=dict)
    """The state of `Bins`; empty: the column is not encoded as weight of evidence."""
    scores: list[float] = field(default_factory=list)
    """Normal scores of the quantiles; empty: those of QUANTILE_LEVELS."""
    edges: list[float] = field(default_factory=list)
    """Rising; between two neighbours lies a piece of the piecewise linear encoding. Empty: there is none."""
    target: dict[str, Any] = field(default_factory=dict)
    """The state of `TargetFeatures`; empty: the mean targets of its categories are no features."""

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        if self.woe:
            return [self.name]
        names = [self.name] if self.kind in ("number", "date", "boolean") else []
        names += [f"{self.name} rank"] * self.scales
        names += [f"{self.name} piece {place}" for place in range(len(self.edges) - 1)]
        names += [f"{self.name} {part} of {cycle}" for cycle in self.cycles for part in ("sine", "cosine")]
        names += [f"{self.name}={value}" for value in self.categories]
        names += [f"{self.name}=another"] * self.others
        names += [f"{self.name} words {place}" for place in range(TextFeatures.width(self.text))]
        width = TargetFeatures.width(self.target)
        names += [f"{self.name} mean target {place}" for place in range(width - 1)]
        names += [f"{self.name} frequency"] * bool(width)
        return [*names, f"{self.name} missing"] if self.marks_missing else names

    @property
    def has_categories(self) -> bool:
        """Whether its values are names; otherwise they are read as numbers."""
        return self.kind in ("category", "text")


def state(columns: list[Column]) -> list[dict[str, Any]]:
    """Columns as plain values; `Column(**each)` restores one."""
    return [asdict(column) for column in columns]
