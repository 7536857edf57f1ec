"""The verdict on a file of new rows, as words, numbers, JSON and a page."""

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from lantu import pages
from lantu.monitoring.drift import Finding

HOW = (
    "A comparison shows a change where its p value, corrected by Holm's method over all comparisons, is small and its "
    "effect is large too. Effects lie between 0 and 1 and do not depend on the number of rows: the largest difference "
    "of two distribution functions (KS), the total variation distance of shares (chi-square), the change of the "
    "missing share, and twice the AUC above 0.5 of a classifier that tells old rows from new ones."
)


@dataclass
class Verdict:
    """What comparing new rows has found."""

    name: str
    """Of the run."""
    new: str
    rows: int
    reference: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be compared, and why."""
    measured: float | None = None
    """Accuracy or mean absolute error on the new rows, where their targets are known."""
    estimated: float | None = None
    """Accuracy without targets, an estimate."""

    @property
    def drifted(self) -> list[str]:
        """The comparisons that show a change."""
        return [f"{each.column} ({each.test})" for each in self.sorted() if each.drifted]

    def sorted(self) -> list[Finding]:
        """What has changed first, the largest effect first."""
        return sorted(self.findings, key=lambda each: (not each.drifted, -each.effect))

    def lines(self) -> list[str]:
        """For the terminal."""
        what = (
            f"{len(self.drifted)} of {len(self.findings)} comparisons show a change"
            if self.drifted
            else f"none of {len(self.findings)} comparisons shows a change"
        )
        lines = [f"{self.rows:,} new row{'s' * (self.rows != 1)} against {self.reference}: {what}"]
        if self.drifted:
            lines[0] += f": {', '.join(self.drifted[:6])}{', ...' if len(self.drifted) > 6 else ''}"
        if self.estimated is not None:
            lines.append(
                f"estimated accuracy {self.estimated:.3f}, without targets: right only if the model's confidence means "
                "the same as before"
            )
        return lines + self.notes

    def metrics(self) -> dict[str, float]:
        """Numbers to follow over time."""
        found = {"monitor/drifted": float(len(self.drifted)), "monitor/rows": float(self.rows)}
        for each in self.findings:
            name = "".join(letter if letter.isalnum() or letter in "_-. " else "_" for letter in each.column)
            found[f"monitor/{name}/{each.test}"] = each.effect
        for name, value in (("measured", self.measured), ("estimated_accuracy", self.estimated)):
            if value is not None and isfinite(value):
                found[f"monitor/{name}"] = value
        return found

    def to_dict(self) -> dict[str, Any]:
        """For other programs."""
        return {**asdict(self), "drifted": self.drifted}


def page(verdict: Verdict) -> str:
    """A self-contained page."""
    first, *others = verdict.lines()
    parts = [pages.paragraph(first, kind="warning" if verdict.drifted else "")]
    parts += [pages.paragraph(each, kind="quiet") for each in others]
    parts.append(pages.paragraph(HOW, kind="quiet"))
    rows = [
        [
            each.column, each.test, "changed" if each.drifted else "", each.effect, pages.bar(min(1.0, each.effect)),
            each.corrected, "" if each.psi is None else each.psi, each.note,
        ]
        for each in verdict.sorted()
    ]  # fmt: skip
    parts.append(pages.table(["column", "test", "", "effect", "", "p (Holm)", "PSI", ""], rows))
    return pages.page(f"New rows for {verdict.name}", parts)
