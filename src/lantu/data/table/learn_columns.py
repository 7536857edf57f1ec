"""Learn from the training rows how each column of a table is encoded, and report what is left out."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.cleaning_report import Report
from lantu.data.table.column import CYCLES, QUANTILE_LEVELS, Column
from lantu.data.table.column_values import as_category, read_numbers
from lantu.data.table.encode_columns import bin_column
from lantu.data.table.kinds import FEW, Kind, kinds_of, present
from lantu.data.table.target_features import TargetFeatures
from lantu.data.table.text_features import TextFeatures
from lantu.data.table.woe import Options
from lantu.errors import UserError

MOST_CATEGORIES = 100
"""Of a column with more than FEW categories, the most frequent ones that have a feature of their own."""
LEAST_OF_A_CATEGORY = 5
"""Training rows that one of those must have."""
SEVERAL_WORDS = 1.5
"""Mean words of a column with more than FEW categories from which on its words have features too."""
PIECES = 16
"""Of the piecewise linear encoding of a number, with as many training rows in each as ties allow."""
MOST_VALUES = 250_000_000
"""Rows × columns × pieces, of 4 bytes each, up to which numbers are encoded piecewise."""
OUTLYING = 5.0
"""Standard deviations from the mean; a column with a value beyond is skewed or has outliers."""


def learn(
    rows: pd.DataFrame,
    report: Report,
    *,
    numbers: str = "standard",
    day_first: bool | None = None,
    keep: frozenset[str] = frozenset(),
    words: bool = True,
    binning: tuple[np.ndarray, Options] | None = None,
    targets: np.ndarray | None = None,
) -> list[Column]:
    """Learn the encoding of each column of the training rows; columns that cannot help are reported and left out.

    Args:
        numbers: standard, quantile (ranks, which outliers and skew do not disturb), auto: standardised, and as ranks
            besides where a column has values far from the mean, or piecewise: standardised, as ranks, and piecewise
            linear between quantiles.
        day_first: how 03/04/2020 is read where a column does not decide it.
        keep: columns that are inputs even if they look like keys.
        words: learn features of free text; False where only the report is wanted.
        binning: whether each row is of the positive class (N,), and how to bin: every column becomes its weight of
            evidence; None: no binning.
        targets: (N, T), of which columns with many categories have the mean of each category as features; None: none.

    Raises:
        UserError: no column is left.
    """
    kinds = kinds_of(rows, day_first=day_first, keep=keep)
    if numbers == "piecewise" and len(rows) * len(kinds) * PIECES > MOST_VALUES:
        report.say(f"{len(rows):,} training rows, too many for the memory of a piecewise encoding: `data.numbers=auto`")
        numbers = "auto"
    learned, scattered = [], []
    for name, kind in kinds.items():
        report.columns.append(_describe(rows[name], kind))
        for note in kind.notes:
            report.say(note)
        if kind.name in ("key", "constant", "nested"):
            continue
        if kind.name in ("category", "text"):
            column = _learn_categories(name, kind, rows[name], words=words, targets=targets)
        else:
            column = _learn_numbers(name, kind, rows[name], numbers=numbers)
        if column.quantiles and not column.scales and numbers != "quantile":
            report.say(f"`{name}`: values of too many magnitudes for a mean, so their ranks are the feature")
        # where its words are not learned, they may still be worth more than nothing
        if column.features == [f"{name}=another"] and (words or _mean_words(rows[name]) < SEVERAL_WORDS):
            scattered.append(name)
        else:
            learned.append(column)
    _report_left_out(kinds, scattered, report)
    if binning is not None:
        learned = _binned(learned, rows, binning, report)
    if not learned:
        raise UserError("The table has no column to predict from: every one is constant, or only names the rows.")
    return learned


def _describe(values: pd.Series, kind: Kind) -> dict[str, Any]:
    """A column for the report."""
    there = present(values) if kind.name != "nested" else values.dropna().astype(str)
    return {
        "name": str(values.name),
        "kind": kind.name,
        "missing": len(values) - len(there),
        "different": int(there.nunique()),
        "examples": [str(value) for value in there.drop_duplicates().head(3)],
    }


def _report_left_out(kinds: dict[str, Kind], scattered: list[str], report: Report) -> None:
    report.note(
        int(sum(each["missing"] for each in report.columns)),
        "missing values in the training split filled in and marked",
    )
    for kind_name, what in (
        ("constant", "with a single value left out"),
        ("nested", "of lists, mappings or bytes left out"),
        ("key", "left out for numbering or naming the rows (`data.keep=[NAME]` keeps one)"),
    ):
        names = [name for name, kind in kinds.items() if kind.name == kind_name]
        report.note(len(names), f"column{'s' * (len(names) > 1)} {what}", names=names)
    report.note(
        len(scattered),
        f"column{'s' * (len(scattered) > 1)} left out in which no value occurs {LEAST_OF_A_CATEGORY} times",
        names=scattered,
    )


def _binned(
    learned: list[Column], rows: pd.DataFrame, binning: tuple[np.ndarray, Options], report: Report
) -> list[Column]:
    positive, options = binning
    texts = [each.name for each in learned if each.kind == "text"]
    report.note(len(texts), "columns of free text left out: they have no bins", names=texts)
    return [bin_column(each, rows[each.name], positive, options) for each in learned if each.kind != "text"]


def _learn_numbers(name: str, kind: Kind, values: pd.Series, *, numbers: str) -> Column:
    assert kind.name in ("number", "boolean", "date")
    reading = {"decimal": kind.decimal, "unit": kind.unit, "format": kind.format or dates.ISO}
    blank = Column(name, kind.name, _mlflow_type(values, kind), **reading)  # type: ignore[arg-type]
    found = read_numbers(blank, values)
    finite = found[np.isfinite(found)]
    median = float(np.median(finite))
    filled = np.where(np.isfinite(found), found, median)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(filled.mean()), float(filled.std())
    ranks, scales = numbers == "quantile", False
    learned: dict[str, Any] = {}
    if not np.isfinite([mean, std]).all():
        mean, std, ranks = 0.0, 1.0, True
    elif numbers == "auto" and kind.name == "number" and std > 0:
        scales = ranks = bool(np.abs(filled - mean).max() > OUTLYING * std)
    elif numbers == "piecewise" and kind.name != "boolean" and std > 0:
        learned |= _piecewise(filled)
    learned = {
        "scales": scales,
        "mean": mean,
        "std": std or 1.0,
        "median": median,
        "quantiles": np.quantile(filled, QUANTILE_LEVELS).tolist() if ranks else [],
        "marks_missing": len(finite) < len(found),
        "binary": kind.name == "number" and set(np.unique(finite)) == {0.0, 1.0},
        "cycles": _cycles(finite) if kind.name == "date" else [],
        **learned,
    }
    return Column(**{**asdict(blank), **learned})


def _piecewise(found: np.ndarray) -> dict[str, Any]:
    """How a number (N,) is encoded by its rank and piecewise linear; nothing for one of two values."""
    quantiles = np.quantile(found, QUANTILE_LEVELS)
    edges = np.unique(np.quantile(found, np.linspace(0, 1, PIECES + 1)))
    if len(np.unique(found)) < 3 or not np.all(np.isfinite(np.diff(edges))):
        return {}
    if len(different := np.unique(quantiles)) < 2:
        return {}
    from scipy.special import ndtri

    scores = ndtri(QUANTILE_LEVELS)
    return {
        "scales": True,
        "quantiles": different.tolist(),
        "scores": [float(scores[quantiles == value].mean()) for value in different],
        "edges": edges.tolist() if len(edges) > 2 else [],
    }


def _learn_categories(name: str, kind: Kind, values: pd.Series, *, words: bool, targets: np.ndarray | None) -> Column:
    texts = as_category(present(values))
    counts = texts.value_counts()
    categories, others, rare = sorted(counts.index), False, 0.0
    if len(counts) > FEW:
        categories = sorted(counts.index[(counts >= LEAST_OF_A_CATEGORY).to_numpy()][:MOST_CATEGORIES])
        others = kind.name == "category"
        rare = 1 - float(counts[categories].sum()) / float(counts.sum())
    has_words = kind.name == "text" or (len(counts) > FEW and _mean_words(values) >= SEVERAL_WORDS)
    return Column(
        name,
        kind.name,  # type: ignore[arg-type]
        _mlflow_type(values, kind),
        categories=categories if kind.name == "category" else [],
        others=others,
        rare=rare,
        text=TextFeatures.learn(texts).state if words and has_words else {},
        marks_missing=len(texts) < len(values),
        target=TargetFeatures.learn(as_category(values), targets).state if others and targets is not None else {},
    )


def _mean_words(values: pd.Series) -> float:
    """The mean number of words of the values that are there."""
    counts = as_category(present(values)).value_counts()
    return float(np.average([len(text.split()) for text in counts.index], weights=counts))


def _cycles(moments: np.ndarray) -> list[str]:
    """The cycles that the dates cover at least once, and in which their phase varies."""
    span = float(moments.max() - moments.min())
    return [name for name, length in CYCLES.items() if len(np.unique(moments % length)) > 1 and span >= length * 0.9]


def _mlflow_type(values: pd.Series, kind: Kind) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "datetime"
    if pd.api.types.is_numeric_dtype(values):
        return "long" if pd.api.types.is_integer_dtype(values) else "double"
    if kind.name == "boolean":
        return "boolean" if present(values).astype(str).str.lower().isin(["true", "false"]).all() else "string"
    if kind.name != "number" or kind.unit:
        return "string"
    plain = present(values).astype(str).str.fullmatch(r"[+-]?\d{1,18}").all()
    return "long" if plain and len(present(values)) == len(values) else "double"
