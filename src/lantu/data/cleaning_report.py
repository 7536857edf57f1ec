"""The report on the data: what was found and what was done about it, so that nothing is dropped silently."""

import re
from dataclasses import dataclass, field
from typing import Any

from lantu.escaping import for_terminal


@dataclass
class Report:
    """Sizes, and every row or column that was left out, counted with its reason."""

    title: str = ""
    """What the data are, such as "digits (scikit-learn): 1,797 images, 10 classes"."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Examples of each split."""
    unit: str = "examples"
    found: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """Warnings that make the scores doubtful, such as a copy of the target among the inputs."""
    columns: list[dict[str, Any]] = field(default_factory=list)
    """What each column of a table is."""
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Examples of each class in each split."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Further findings, one row each: labels that may be wrong, examples that nearly repeat, agreement."""

    def note(self, count: int, what: str, *, names: list[str] | None = None) -> None:
        """Add a finding with its count, unless that is 0: note(12, "duplicate rows left out of the training split")."""
        if count:
            self.found.append({"count": int(count), "what": what, **({"names": names} if names else {})})

    def say(self, sentence: str) -> None:
        """Add a finding without a count, such as how dates were read."""
        self.found.append({"what": sentence})

    def warn(self, sentence: str) -> None:
        """Add a finding that makes the scores doubtful."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def lines(self) -> list[str]:
        """For the terminal."""
        sizes = ", ".join(f"{name} {count:,}" for name, count in self.sizes.items())
        lines = [f"{self.title}; {sizes} {self.unit}".strip("; ")]
        for each in self.found:
            names = each.get("names", [])
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            text = counted(each["count"], each["what"]) if "count" in each else each["what"]
            lines.append(text + (f": {shown}" if shown else ""))
        return [for_terminal(line) for line in (*lines, *(f"warning: {sentence}" for sentence in self.warnings))]

    def to_dict(self) -> dict[str, Any]:
        """For the run's record."""
        kept = {"title": self.title, "unit": self.unit, "sizes": self.sizes, "found": self.found}
        more = {"warnings": self.warnings, "columns": self.columns, "classes": self.classes, "tables": self.tables}
        return {**kept, **{name: value for name, value in more.items() if value}}


def counted(count: int, what: str) -> str:
    """A number with what it counts, such as "1 training row that occurs twice" and "2 training rows that occur twice".

    Args:
        what: in the plural.
    """
    if count != 1:
        return f"{count:,} {what}"
    noun = re.sub(r"^((?:[a-z]+ ){0,3}?)(" + "|".join(_ONE) + r")\b", lambda found: found[1] + _ONE[found[2]], what)
    return "1 " + re.sub(r"\b(are|have|occur|show|were)\b", lambda word: _VERBS[word[0]], noun, count=1)


_ONE = {"categories": "category"} | {
    f"{each}s": each
    for each in (
        "annotation", "character", "column", "day", "dialogue", "example", "file", "group", "hour", "image", "language",
        "line", "month", "object", "pair", "picture", "question", "recording", "row", "shard", "slot", "speaker",
        "target", "text", "value", "week", "window",
    )
}  # fmt: skip
_VERBS = {"are": "is", "have": "has", "occur": "occurs", "show": "shows", "were": "was"}
