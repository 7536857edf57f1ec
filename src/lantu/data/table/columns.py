"""From the columns of a table to numbers on one scale, learned on the training rows and applied to every later one."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from lantu.data import dates
from lantu.data.cleaning_report import Report
from lantu.data.table.kinds import FEW, Kind, kinds_of, present
from lantu.data.table.text_features import TextFeatures
from lantu.data.table.woe import Bins, Options, of_levels, of_numbers
from lantu.data.values import as_text, is_missing, notation, number, numbers, truths
from lantu.errors import UserError

MOST_LEVELS = 100
"""Of a column with more than FEW categories, the most frequent ones that have a feature of their own."""
LEAST_OF_A_LEVEL = 5
"""Training rows that one of those must have."""
SEVERAL_WORDS = 1.5
"""Mean words of a column with more than FEW categories from which on its words have features too."""
FARTHEST = 1e6
"""Deviations from the mean that a value counts as at most, so that 1e300 in a later file is no infinity."""
OUTLYING = 5.0
"""Standard deviations from the mean; a column with a value beyond is skewed or has outliers."""
UNUSUAL = 0.2
"""How much larger than in training the share of values without a feature of their own is when it is said."""
LEVELS = np.linspace(0.005, 0.995, 100)
"""Of the quantiles that ranks are looked up in."""
Say = Callable[[str], None]
_YEAR, _WEEK, _DAY = 365.2425 * 86_400, 7 * 86_400, 86_400
CYCLES = {"year": _YEAR, "week": _WEEK, "day": _DAY}
"""Seconds of what a date has a place in; the week begins with the Thursday of 1970."""


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers.

    A number or date becomes (value - mean) / std, or, with quantiles, the normal score of its rank in training; with
    the median for a missing one, and a second feature that marks those if there were any in training. A date has its
    places in the year, the week and the day besides, as sine and cosine. A category becomes one feature per value seen
    in training; a value not seen, or missing, has a feature of its own if training had missing ones, and is all zeros
    otherwise. Text becomes the principal components of its words' TF-IDF weights.
    """

    name: str
    kind: Literal["number", "category", "date", "boolean", "text"]
    type: str
    """Of its values, as MLflow calls it: double, long, boolean, string or datetime."""
    mean: float = 0.0
    std: float = 1.0
    median: float = 0.0
    quantiles: list[float] = field(default_factory=list)
    """At LEVELS; empty: the number is standardised."""
    categories: list[str] = field(default_factory=list)
    marks_missing: bool = False
    decimal: str = "."
    """The sign in front of a number's fraction."""
    unit: str = ""
    """What stands behind its numbers, such as kg."""
    format: str = dates.ISO
    """Of its dates."""
    cycles: list[str] = field(default_factory=list)
    """Of CYCLES: those that a date has features for."""
    binary: bool = False
    """Whether a number was 0 or 1 in training: then true, no and the like are read too."""
    scales: bool = False
    """Whether a number with quantiles is standardised too, as a feature in front of that of its rank."""
    rare: float = 0.0
    """The share of the training rows' values that have no feature of their own."""
    others: bool = False
    """Whether there are categories without a feature of their own; they share one."""
    text: dict[str, Any] = field(default_factory=dict)
    """The state of `TextFeatures`; empty: the column's words have no features."""
    woe: dict[str, Any] = field(default_factory=dict)
    """The state of `Bins`; empty: the column becomes numbers in its usual way."""

    @property
    def features(self) -> list[str]:
        """Names of the features that it becomes."""
        if self.woe:
            return [self.name]
        own = [self.name] if self.kind in ("number", "date", "boolean") else []
        own += [f"{self.name} rank"] * self.scales
        own += [f"{self.name} {part} of {cycle}" for cycle in self.cycles for part in ("sine", "cosine")]
        own += [f"{self.name}={value}" for value in self.categories]
        own += [f"{self.name}=another"] * self.others
        own += [f"{self.name} words {place}" for place in range(TextFeatures.width(self.text))]
        return [*own, f"{self.name} missing"] if self.marks_missing else own

    def encode(self, values: pd.Series, say: Say | None = None) -> np.ndarray:
        """(N, features) float32.

        Args:
            say: is told, in a sentence, how many values could not be read or were not seen in training.
        """
        if self.woe:
            return self._evidence(values, Bins(**self.woe), say)[:, None].astype(np.float32)
        if self.kind in ("category", "text"):
            parts = self._categories(values, say)
            absent = self._absent(values)
        else:
            found = self.read(values, say)
            absent = ~np.isfinite(found)
            filled = np.where(absent, self.median, found)
            parts = [*self._scaled(filled, say), *self._places(filled)]
        if self.marks_missing:
            parts.append(absent[:, None])
        elif say is not None:
            self._say_absent(values, say)
        return np.hstack(parts).astype(np.float32)

    def _say_absent(self, values: pd.Series, say: Say) -> None:
        """Tell of values that are missing though none was in training; what cannot be read is told elsewhere."""
        if count := int(values.isna().sum()):
            instead = "no category" if self.kind in ("category", "text") else "the median of training"
            say(
                f"`{self.name}`: {count:,} of {len(values):,} values are missing, as none was in training; {instead} "
                "stands for them"
            )

    def read(self, values: pd.Series, say: Say | None = None) -> np.ndarray:
        """Numbers (N,) float64 of a column that is not one of categories; NaN for what is missing or cannot be read."""
        if self.kind == "boolean":
            found = truths(values)
        elif self.kind == "date":
            found = dates.seconds(values, self.format)
        else:
            found = numbers(values, decimal=self.decimal, unit=self.unit)
        unread = ~np.isfinite(found) & values.notna().to_numpy()
        if unread.any():
            found = self._otherwise(values, found, unread, say)
            unread &= ~np.isfinite(found)
        if unread.any() and say is not None:
            self._say_unread(values, unread, say)
        return found

    def _otherwise(self, values: pd.Series, found: np.ndarray, unread: np.ndarray, say: Say | None) -> np.ndarray:
        """What the column's own notation does not read: booleans for 0 and 1, or a file with the other decimal sign."""
        if self.binary:
            return np.where(unread, truths(values), found)
        if self.kind != "number" or pd.api.types.is_numeric_dtype(values):
            return found
        other = "," if self.decimal == "." else "."
        there = present(values).astype(str)
        texts = [text for text in there.unique() if not is_missing(text)]
        if (
            texts
            and notation(texts)[::2] == (other, True)
            and np.isfinite([number(t, other, self.unit) for t in texts]).all()
        ):
            if say is not None:
                say(f"`{self.name}`: read with a decimal {'comma' if other == ',' else 'point'}, unlike in training")
            return numbers(values, decimal=other, unit=self.unit)
        return found

    def _say_unread(self, values: pd.Series, unread: np.ndarray, say: Say) -> None:
        texts = pd.Series(values.to_numpy()[unread]).astype(str).value_counts()
        shown = ", ".join(repr(text[:20]) for text in texts.index[:3]) + (", ..." if len(texts) > 3 else "")
        what = {"boolean": "neither true nor false", "date": "not dates"}.get(self.kind, "not numbers")
        say(f"`{self.name}`: {int(unread.sum()):,} of {len(values):,} values are {what} ({shown}), treated as missing")

    def binned(self, values: pd.Series, positive: np.ndarray, options: Options) -> "Column":
        """The same column as weight of evidence, learned on training values (N,) and whether each is positive (N,)."""
        if self.kind == "category":
            levels = len(self.categories) + self.others
            bins = of_levels(self._codes(values), self._absent(values), levels, positive, options)
        else:
            bins = of_numbers(self.read(values), positive, options)
        return replace(self, woe=asdict(bins))

    def _evidence(self, values: pd.Series, bins: Bins, say: Say | None) -> np.ndarray:
        if self.kind == "category":
            return bins.encode(bins.places_of_levels(self._codes(values, say), self._absent(values)))
        found = self.read(values, say)
        return bins.encode(bins.places_of_numbers(np.where(np.isfinite(found), found, np.nan)))

    def _absent(self, values: pd.Series) -> np.ndarray:
        """Which categories (N,) are missing."""
        return values.isna().to_numpy() | as_category(values).map(is_missing, na_action="ignore").eq(True).to_numpy()

    def _codes(self, values: pd.Series, say: Say | None = None) -> np.ndarray:
        """The number (N,) of each category; one more for those that share a place; -1 for none."""
        one_hot = self._categories(values, say, words=False)[-1]
        if not one_hot.shape[1]:
            return np.full(len(values), -1)
        return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)

    def _categories(self, values: pd.Series, say: Say | None, *, words: bool = True) -> list[np.ndarray]:
        texts = as_category(values)
        parts = [np.zeros((len(values), 0))]
        if self.categories or self.others:
            codes = pd.Categorical(texts, categories=self.categories).codes
            strange = (
                (codes < 0) & texts.notna().to_numpy() & ~texts.map(is_missing, na_action="ignore").eq(True).to_numpy()
            )
            if strange.any():
                codes = np.where(strange, self._loosely(texts), codes)
                strange &= codes < 0
            parts.append(codes[:, None] == np.arange(len(self.categories)))
            if self.others:
                parts.append(strange[:, None])
            # of a column with rare values some are always new
            if say is not None and strange.mean() > (self.rare + UNUSUAL if self.others else 0):
                unseen = texts[strange].value_counts()
                shown = ", ".join(repr(str(text)[:20]) for text in unseen.index[:3]) + (
                    ", ..." if len(unseen) > 3 else ""
                )
                say(
                    f"`{self.name}`: {int(strange.sum()):,} of {len(values):,} values are not among the training rows' "
                    f"({shown})"
                )
        if not words:
            return [np.hstack(parts)]
        if self.text:
            parts.append(TextFeatures(self.text).encode(texts))
        return parts

    def _loosely(self, texts: pd.Series) -> np.ndarray:
        """Codes (N,) of categories that are the same but for case, spaces or leading zeros; -1 for none."""
        known = self.loose_places()
        found = texts.map(lambda text: known.get(_loose(text), -1), na_action="ignore")
        return found.fillna(-1).to_numpy(dtype=np.int64)

    def loose_places(self) -> dict[str, int]:
        """Places of the categories in their order, by `_loose`, and without the zeros that spreadsheets cut off."""
        known: dict[str, int] = {}
        for code, name in enumerate(self.categories):
            known[_loose(name)] = -1 if _loose(name) in known else code
        # codes such as 00123, all of one length
        if len({len(name) for name in self.categories}) == 1 and all(name.isdecimal() for name in self.categories):
            for name in self.categories:
                known.setdefault(name.lstrip("0") or "0", known[name])
        return known

    def _places(self, moments: np.ndarray) -> list[np.ndarray]:
        angles = [2 * np.pi * (moments % CYCLES[name]) / CYCLES[name] for name in self.cycles]
        return [np.stack([np.sin(angle), np.cos(angle)], axis=1) for angle in angles]

    def _scaled(self, found: np.ndarray, say: Say | None = None) -> list[np.ndarray]:
        """Numbers (N,) on one scale, each feature (N, 1): standardised, the normal scores of their ranks, or both."""
        features = []
        if self.scales or not self.quantiles:
            scaled = (found - self.mean) / self.std
            far = np.abs(scaled) > FARTHEST
            if far.any() and say is not None:
                say(
                    f"`{self.name}`: {int(far.sum()):,} of {len(found):,} values, such as {found[far][0]:g}, are more "
                    f"than {FARTHEST:,.0f} standard deviations from the training mean, and count as that far"
                )
            features.append(np.clip(scaled, -FARTHEST, FARTHEST)[:, None])
        if self.quantiles:
            from scipy.special import ndtri

            features.append(np.interp(found, self.quantiles, ndtri(LEVELS))[:, None])
        return features


def learn(
    rows: pd.DataFrame,
    report: Report,
    *,
    numbers: str = "standard",
    day_first: bool | None = None,
    keep: frozenset[str] = frozenset(),
    words: bool = True,
    binning: tuple[np.ndarray, Options] | None = None,
) -> list[Column]:
    """How to encode each column of the training rows; columns that cannot help are reported and left out.

    Args:
        numbers: standard, quantile (ranks, which outliers and skew do not disturb), or auto: standardised, and as
            ranks besides where a column has values far from the mean.
        day_first: how 03/04/2020 is read where a column does not decide it.
        keep: columns that are inputs even if they look like keys.
        words: learn features of free text; False where only the report is wanted.
        binning: whether each row is of the positive class (N,), and how to bin: every column becomes its weight of
            evidence; None: not.

    Raises:
        UserError: no column is left.
    """
    kinds = kinds_of(rows, day_first=day_first, keep=keep)
    learned, scattered = [], []
    for name, kind in kinds.items():
        report.columns.append(described(rows[name], kind))
        for note in kind.notes:
            report.say(note)
        if kind.name in ("key", "constant", "nested"):
            continue
        column = _learned(name, kind, rows[name], numbers=numbers, words=words)
        if column.quantiles and not column.scales and numbers != "quantile":
            report.say(f"`{name}`: values of too many magnitudes for a mean, so their ranks are the feature")
        # its words, which a report alone does not learn, may tell something
        if column.features == [f"{name}=another"] and (words or _words_of(rows[name]) < SEVERAL_WORDS):
            scattered.append(name)
        else:
            learned.append(column)
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
        f"column{'s' * (len(scattered) > 1)} left out in which no value occurs {LEAST_OF_A_LEVEL} times",
        names=scattered,
    )
    if binning is not None:
        positive, options = binning
        report.note(
            len(texts := [each.name for each in learned if each.kind == "text"]),
            "columns of free text left out: they have no bins",
            names=texts,
        )
        learned = [each.binned(rows[each.name], positive, options) for each in learned if each.kind != "text"]
    if not learned:
        raise UserError("The table has no column to predict from: every one is constant, or only names the rows.")
    return learned


def encode(rows: pd.DataFrame, columns: list[Column], say: Say | None = None) -> np.ndarray:
    """(N, features) float32 of all columns.

    Args:
        say: is told what could not be read.

    Raises:
        UserError: a column that the training rows had is not there.
    """
    named = {_loose(str(name)): name for name in rows}
    lacking = [column.name for column in columns if column.name not in rows and _loose(column.name) not in named]
    if lacking:
        raise UserError(f"The table lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}.")
    found = {each.name: each.name if each.name in rows else named[_loose(each.name)] for each in columns}
    return np.hstack([column.encode(rows[found[column.name]], say) for column in columns])


def described(values: pd.Series, kind: Kind) -> dict[str, Any]:
    """A column for the report."""
    there = present(values) if kind.name != "nested" else values.dropna().astype(str)
    examples = [str(value) for value in there.drop_duplicates().head(3)]
    return {
        "name": str(values.name),
        "kind": kind.name,
        "missing": len(values) - len(there),
        "different": int(there.nunique()),
        "examples": examples,
    }


def state(columns: list[Column]) -> list[dict[str, Any]]:
    """As plain values."""
    return [asdict(column) for column in columns]


def as_category(values: pd.Series) -> pd.Series:
    """Values as stripped texts; None where there is none."""
    return as_text(values).str.strip().astype(object).where(values.notna().to_numpy(), None)


def _learned(name: str, kind: Kind, values: pd.Series, *, numbers: str, words: bool) -> Column:
    there = present(values)
    gaps = len(there) < len(values)
    if kind.name in ("category", "text"):
        return _of_categories(name, kind, values, gaps, words=words)
    assert kind.name in ("number", "boolean", "date")
    how = {"decimal": kind.decimal, "unit": kind.unit, "format": kind.format or dates.ISO}
    blank = Column(name, kind.name, _type(values, kind), **how)  # type: ignore[arg-type]
    found = blank.read(values)
    finite = found[np.isfinite(found)]
    median = float(np.median(finite))
    filled = np.where(np.isfinite(found), found, median)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(filled.mean()), float(filled.std())
    ranks, scales = numbers == "quantile", False
    if not np.isfinite([mean, std]).all():
        mean, std, ranks = 0.0, 1.0, True
    elif numbers == "auto" and kind.name == "number" and std > 0:
        scales = ranks = bool(np.abs(filled - mean).max() > OUTLYING * std)
    learned = {
        "scales": scales,
        "mean": mean,
        "std": std or 1.0,
        "median": median,
        "quantiles": np.quantile(filled, LEVELS).tolist() if ranks else [],
        "marks_missing": len(finite) < len(found),
        "binary": kind.name == "number" and set(np.unique(finite)) == {0.0, 1.0},
        "cycles": _cycles(finite) if kind.name == "date" else [],
    }
    return Column(**{**asdict(blank), **learned})


def _of_categories(name: str, kind: Kind, values: pd.Series, gaps: bool, *, words: bool) -> Column:
    texts = as_category(present(values))
    counts = texts.value_counts()
    known, others, rare = sorted(counts.index), False, 0.0
    if len(counts) > FEW:
        known = sorted(counts.index[(counts >= LEAST_OF_A_LEVEL).to_numpy()][:MOST_LEVELS])
        others = kind.name == "category"
        rare = 1 - float(counts[known].sum()) / float(counts.sum())
    tells = kind.name == "text" or (len(counts) > FEW and _words_of(values) >= SEVERAL_WORDS)
    text = TextFeatures.learn(texts).state if words and tells else {}
    return Column(
        name, kind.name, _type(values, kind), categories=known if kind.name == "category" else [],  # type: ignore[arg-type]
        others=others, rare=rare, text=text, marks_missing=gaps,
    )  # fmt: skip


def _words_of(values: pd.Series) -> float:
    """The mean number of words of the values that are there."""
    counts = as_category(present(values)).value_counts()
    return float(np.average([len(text.split()) for text in counts.index], weights=counts))


def _cycles(moments: np.ndarray) -> list[str]:
    """Those in which the dates do not all have the same place, and that they go through at least once."""
    span = float(moments.max() - moments.min())
    return [name for name, length in CYCLES.items() if len(np.unique(moments % length)) > 1 and span >= length * 0.9]


def _type(values: pd.Series, kind: Kind) -> str:
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


def _loose(text: str) -> str:
    return " ".join(str(text).casefold().split())
