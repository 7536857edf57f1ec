"""Whether a column's values are distributed as before: a test, corrected for how many there are, and an effect size.

A test alone calls the smallest difference drift once there are many rows, and one column in twenty by chance. So a
column has drifted if its p value, corrected by Holm's method over all tests, is small and its effect is large too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 10
"""Of the population stability index, by the reference's quantiles."""
MOST_NAMED = 100
"""Categories that are compared one by one, the commonest of both; the others are compared as one."""
ORDINARY = 0.3
"""Effect of a change that a report should be able to show; where it cannot, it says so."""
RARE = 1e-4
"""Share that an empty bin counts with, without which the index would be infinite."""


@dataclass
class Finding:
    """One comparison.

    Args:
        column: its name.
        test: such as "KS", "chi-square", "missing".
        effect: a difference between 0 and 1 that does not depend on how many rows there are.
        least: the effect from which on it counts.
        p: of the test; corrected once `correct` was called.
        psi: population stability index; None where it has none.
        note: what a person should know of the column, such as categories not seen before.
    """

    column: str
    test: str
    effect: float
    least: float
    p: float
    psi: float | None = None
    note: str = ""
    corrected: float = 1.0
    drifted: bool = False


def compare(reference: dict[str, Any], new: dict[str, Any], *, least: float = 0.1) -> list[Finding]:
    """Compare distributions of `lantu.data.table.reference`, column by column."""
    found: list[Finding] = []
    for name, before in reference["columns"].items():
        after = new["columns"][name]
        found.append(missing(name, before, after, least=least / 2))
        if before.get("points") and after.get("points"):
            found.append(numbers(name, before, after, least=least))
        elif before.get("counts") and after.get("counts"):
            found.append(categories(name, before, after, least=least))
    return found


def correct(findings: list[Finding], *, alpha: float = 0.05) -> None:
    """Correct the p values by Holm's method, and say of each comparison whether it shows drift."""
    order = sorted(range(len(findings)), key=lambda place: findings[place].p)
    largest = 0.0
    for rank, place in enumerate(order):
        each = findings[place]
        largest = max(largest, min(1.0, each.p * (len(findings) - rank)))
        each.corrected = largest
        each.drifted = each.corrected < alpha and each.effect >= each.least


def unseen(rows: int, comparisons: int, *, alpha: float) -> str:
    """A sentence on changes that so few rows cannot show; empty where they show ordinary ones.

    Args:
        rows: of the smaller file; the other is taken to be much larger.
        comparisons: over which the p values are corrected.
    """
    from scipy.stats import kstwobign

    smallest = float(kstwobign.isf(alpha / max(1, comparisons)) / np.sqrt(rows))
    if smallest <= ORDINARY:
        return ""
    here = f"{rows:,} row{'s' * (rows != 1)} cannot show"
    if smallest >= 1:
        return f"{here} a change of a distribution, however large: this says nothing without more rows."
    return f"{here} a change of a distribution whose effect is below {smallest:.2f}: more rows show smaller ones."


def numbers(name: str, before: dict[str, Any], after: dict[str, Any], *, least: float) -> Finding:
    """Kolmogorov-Smirnov test of two samples that are known by evenly spaced order statistics.

    The effect is the largest difference of the distribution functions.
    """
    from scipy.stats import kstwobign

    one, two = np.asarray(before["points"]), np.asarray(after["points"])
    places = np.unique(np.concatenate([one, two]))
    difference = np.abs(_distribution(one, places) - _distribution(two, places))
    # what the order statistics may be off by is not held against the new rows
    effect = max(0.0, float(difference.max()) - _grid(before) - _grid(after))
    rows = [each["rows"] - each["missing"] for each in (before, after)]
    size = rows[0] * rows[1] / sum(rows)
    outside = float(np.mean((two < before["low"]) | (two > before["high"])))
    note = f"{outside:.1%} outside of the training range" if outside else ""
    return Finding(
        name, "KS", effect, least, float(kstwobign.sf(effect * np.sqrt(size))), psi=_psi_numbers(one, two), note=note
    )


def categories(name: str, before: dict[str, Any], after: dict[str, Any], *, least: float) -> Finding:
    """Chi-square test of homogeneity; the effect is the total variation distance of the shares.

    Where a checkpoint keeps the commonest categories of a column alone, the test is among those.
    """
    names = dict.fromkeys(before["counts"])
    if _is_whole(before):
        names |= dict.fromkeys(after["counts"])
    counts = np.array([[each["counts"].get(name, 0) for name in names] for each in (before, after)], dtype=float)
    # which are the commonest is decided by both together: by one alone, those would be rarer in the other by chance
    counts = counts[:, np.argsort(-counts.sum(axis=0), kind="stable")]
    counts = np.column_stack([counts[:, :MOST_NAMED], counts[:, MOST_NAMED:].sum(axis=1)])
    return _of_counts(name, counts, least=least, note=_unseen(before, after), test="chi-square")


def missing(name: str, before: dict[str, Any], after: dict[str, Any], *, least: float) -> Finding:
    """The same for the share of missing values; the effect is its change."""
    counts = np.array([[each["missing"], each["rows"] - each["missing"]] for each in (before, after)], dtype=float)
    shares = counts[:, 0] / counts.sum(axis=1)
    note = f"{shares[0]:.1%} to {shares[1]:.1%} missing" if shares.any() else ""
    return _of_counts(name, counts, least=least, note=note, test="missing", psi=False)


def _of_counts(name: str, counts: np.ndarray, *, least: float, note: str, test: str, psi: bool = True) -> Finding:
    from scipy.stats import chi2_contingency

    there = counts[:, counts.sum(axis=0) > 0]
    shares = there / there.sum(axis=1, keepdims=True)
    effect = float(np.abs(shares[0] - shares[1]).sum() / 2)
    p = float(chi2_contingency(there, correction=False).pvalue) if there.shape[1] > 1 else 1.0
    return Finding(name, test, effect, least, p, psi=_index(*shares) if psi else None, note=note)


def _is_whole(described: dict[str, Any]) -> bool:
    """Whether all categories of a column were kept."""
    return bool(sum(described["counts"].values()) >= described["rows"] - described["missing"])


def _unseen(before: dict[str, Any], after: dict[str, Any]) -> str:
    new = {name: count for name, count in after["counts"].items() if name not in before["counts"]}
    if not new or not _is_whole(before):
        return ""
    share = sum(new.values()) / sum(after["counts"].values())
    shown = ", ".join(list(new)[:3]) + (", ..." if len(new) > 3 else "")
    return f"{share:.1%} are values not seen in training ({shown})"


def _distribution(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.searchsorted(points, places, side="right") / len(points)


def _grid(described: dict[str, Any]) -> float:
    """How far off a distribution function is that is known by some of its values; 0 where all were kept."""
    rows = described["rows"] - described["missing"]
    return 0.5 / len(described["points"]) if rows > len(described["points"]) else 0.0


def _psi_numbers(one: np.ndarray, two: np.ndarray) -> float:
    edges = np.unique(np.quantile(one, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = [np.bincount(np.searchsorted(edges, each), minlength=len(edges) + 1) / len(each) for each in (one, two)]
    return _index(*shares)


def _index(one: np.ndarray, two: np.ndarray) -> float:
    """Population stability index of two lists of shares: the sum of (b - a) log(b / a)."""
    a, b = np.maximum(one, RARE), np.maximum(two, RARE)
    return float(((b - a) * np.log(b / a)).sum())
