"""Weight of evidence: each column cut into a few bins, and each bin replaced by its log-odds beside the average.

The bins are the leaves of a small classification tree over one column (scikit-learn's, which also keeps the odds
monotone where that is asked for). optbinning solves the same problem exactly, and brings eleven packages with it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lantu.errors import UserError

PRIOR = 10
"""Rows at the average odds that each bin is given besides: a bin of few rows is drawn towards the average."""


@dataclass(frozen=True)
class Options:
    """How columns are binned.

    Args:
        bins: of a column at most, without the one for missing values.
        least: share of the training rows that a bin holds at least.
        monotone: whether the odds only rise or only fall along a number; the direction that fits better is taken.
    """

    bins: int = 6
    least: float = 0.05
    monotone: bool = False

    @classmethod
    def of(cls, given: dict[str, Any] | None) -> "Options":
        """The options that a config gives.

        Raises:
            UserError: there is no such option, or no such value of it.
        """
        unknown = set(given or {}) - {"bins", "least", "monotone"}
        if unknown:
            raise UserError(f"`data.woe.{sorted(unknown)[0]}`: the options are bins, least and monotone.")
        options = cls(**(given or {}))
        if options.bins < 2 or not 0 < options.least < 0.5:
            raise UserError("`data.woe`: bins is at least 2, and least a share above 0 and below 0.5.")
        return options


@dataclass(frozen=True)
class Bins:
    """The bins of a column: of a number between `edges`, of a category the levels of each group."""

    values: list[float]
    """Weight of evidence of each bin: its log-odds of the positive class less those of all rows."""
    counts: list[int]
    """Training rows in each bin."""
    events: list[int]
    """Those of the positive class."""
    edges: list[float] = field(default_factory=list)
    """Inner edges, rising; a value equal to an edge lies below it."""
    group_of_level: list[int] = field(default_factory=list)
    """The bin of each category, in their order; the last is for categories without a place of their own."""
    missing: bool = False
    """Whether the last bin is for missing values."""

    @property
    def information_value(self) -> float:
        """How well the column alone separates the classes."""
        n, bad = np.array(self.counts, dtype=float), np.array(self.events, dtype=float)
        of_bad, of_good = bad / max(1.0, bad.sum()), (n - bad) / max(1.0, (n - bad).sum())
        return float(np.sum((of_bad - of_good) * np.array(self.values)))

    def encode(self, place: np.ndarray) -> np.ndarray:
        """Weight of evidence (N,) of bins (N,); of -1, which is none of them, 0: the average odds."""
        return np.where(place < 0, 0.0, np.array(self.values)[np.maximum(place, 0)])

    def places_of_numbers(self, found: np.ndarray) -> np.ndarray:
        """The bin (N,) of each number; of NaN the one for missing values, or -1."""
        places = np.searchsorted(self.edges, found, side="left")
        return np.where(np.isnan(found), len(self.values) - 1 if self.missing else -1, places)

    def places_of_levels(self, codes: np.ndarray, absent: np.ndarray) -> np.ndarray:
        """The bin (N,) of each category code; of those that are absent the one for missing values, or -1."""
        known = (codes >= 0) & (codes < len(self.group_of_level))
        groups = np.array([*self.group_of_level, -1])[np.where(known, codes, -1)]
        return np.where(absent, len(self.values) - 1 if self.missing else -1, groups)

    def labels(self, categories: list[str], *, others: bool) -> list[str]:
        """What each bin holds, in words."""
        if self.group_of_level:
            names = [*categories, "another"] if others else categories
            found = [
                ", ".join(name for name, group in zip(names, self.group_of_level, strict=False) if group == each)
                for each in range(max(self.group_of_level) + 1)
            ]
        elif not self.edges:
            found = ["any"]
        else:
            inner = [f"{low:.6g} to {high:.6g}" for low, high in zip(self.edges, self.edges[1:], strict=False)]
            found = [f"up to {self.edges[0]:.6g}", *inner, f"above {self.edges[-1]:.6g}"]
        return [*found, "missing"] if self.missing else found


def of_numbers(found: np.ndarray, positive: np.ndarray, options: Options) -> Bins:
    """Bin a column of numbers (N,), NaN where missing; positive: (N,) truth values."""
    there = np.isfinite(found)
    edges = _edges(found[there], positive[there], options) if there.any() else []
    places = np.searchsorted(edges, found, side="left")
    return _filled(places, there, positive, len(edges) + 1, options, edges=edges)


def of_levels(codes: np.ndarray, absent: np.ndarray, levels: int, positive: np.ndarray, options: Options) -> Bins:
    """Bin a column of category codes (N,) below `levels`: levels of like odds make one bin."""
    there = ~absent & (codes >= 0)
    n = np.bincount(codes[there], minlength=levels).astype(float)
    bad = np.bincount(codes[there], positive[there], minlength=levels)
    rank = np.argsort(np.argsort(_shrunk(n, bad, positive.mean()), kind="stable"), kind="stable")
    edges = _edges(rank[codes[there]].astype(float), positive[there], options) if there.any() else []
    group = np.searchsorted(edges, rank, side="left")
    places = np.where(there, group[np.clip(codes, 0, levels - 1)], 0)
    return _filled(places, there, positive, len(edges) + 1, options, groups=[int(each) for each in group])


def _edges(x: np.ndarray, positive: np.ndarray, options: Options) -> list[float]:
    """Inner edges, rising, of the bins of numbers (N,)."""
    from sklearn.tree import DecisionTreeClassifier

    if len(np.unique(x)) < 2 or len(np.unique(positive)) < 2:
        return []
    least = max(1, round(options.least * len(x)))
    trees = [
        DecisionTreeClassifier(
            criterion="entropy", max_leaf_nodes=options.bins, min_samples_leaf=least, monotonic_cst=direction,
            random_state=0,
        ).fit(x[:, None], positive)
        for direction in ([[1], [-1]] if options.monotone else [None])
    ]  # fmt: skip

    def loss(tree: Any) -> float:
        p = np.clip(tree.predict_proba(x[:, None])[:, 1], 1e-9, 1 - 1e-9)
        return float(-np.mean(np.where(positive, np.log(p), np.log(1 - p))))

    best = min(trees, key=loss).tree_
    return sorted(float(edge) for edge in best.threshold[best.feature >= 0])


def _filled(
    places: np.ndarray,
    there: np.ndarray,
    positive: np.ndarray,
    bins: int,
    options: Options,
    *,
    edges: list[float] | None = None,
    groups: list[int] | None = None,
) -> Bins:
    gaps = bool((~there).any())
    places = np.where(there, places, bins)
    n = np.bincount(places, minlength=bins + gaps).astype(float)
    bad = np.bincount(places, positive, minlength=bins + gaps)
    values = _shrunk(n, bad, positive.mean())
    if options.monotone and edges:
        rises = values[bins - 1] >= values[0]
        values[:bins] = np.maximum.accumulate(values[:bins]) if rises else np.minimum.accumulate(values[:bins])
    return Bins(
        values=values.tolist(), counts=n.astype(int).tolist(), events=bad.astype(int).tolist(), edges=edges or [],
        group_of_level=groups or [], missing=gaps,
    )  # fmt: skip


def _shrunk(n: np.ndarray, bad: np.ndarray, rate: float) -> np.ndarray:
    """Log-odds (B,) of bins less those of all rows, with PRIOR rows at the average added to each."""
    share = (bad + PRIOR * rate) / (n + PRIOR)
    return np.log(share / (1 - share)) - np.log(rate / (1 - rate))
