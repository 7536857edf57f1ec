"""Clean rows with a target and split them. Imports no torch, so that a report on a table starts fast."""

from abc import abstractmethod
from typing import Any

import numpy as np
import pandas as pd

from lantu.data import dates, labels
from lantu.data.cleaning import Copies, copies_across, missing, repeated, row_hashes
from lantu.data.cleaning_report import Report
from lantu.data.label_sets import LabelSets, frequencies
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, by_time, check_sizes, completed, grouped, strata_of, with_every_class
from lantu.data.table_header import no_column
from lantu.data.targets import check_single, read_target, warn_of_far
from lantu.data.values import notation, numbers
from lantu.errors import UserError

MUCH = 0.03
"""Dropping more than this share of the rows is a warning."""


def check_arrangement(*, duplicates: str, group: str | None, time: str | None, split: Any) -> None:
    """Raise a `UserError` for options that exclude each other."""
    if duplicates not in ("auto", "drop", "keep", "once"):
        raise UserError(
            f"`data.duplicates={duplicates}`: they can be dropped from training (drop), from every part (once), "
            "kept (keep), or dropped where they are copies (auto)."
        )
    if group is not None and time is not None:
        raise UserError("`data.group` and `data.time`: rows are divided by groups or by time, not by both.")
    if split == "time" and time is None:
        raise UserError("`data.split=time` needs the column with the time: add `data.time=COLUMN`.")


class ArrangedRows:
    """Apply the options of `SupervisedDataModule` to rows."""

    unit: str
    target: str
    label_sets: bool = False
    """Whether an example has any number of labels, which `lantu.data.label_sets` joined in one column."""
    task: str
    classes: list[str] | None
    positive: str | None
    duplicates: str
    group: str | None
    time: str | None
    shares: dict[str, float]
    split_seed: int
    report: Report
    learned: dict[str, Any]

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        """Load the inputs (decode images), return which rows (N,) could be read, and report the others."""
        return np.ones(len(rows), dtype=bool)

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        """A hash (N,) of each row's inputs and target."""
        return row_hashes(rows)

    @abstractmethod
    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        """Fit the encoding on the training rows; the result is plain values."""

    def arranged(self, raw: Raw) -> tuple[pd.DataFrame, np.ndarray, labels.Target]:
        """Clean and split rows; return them, the split of each (N,) and the target, fitted unless it was restored.

        Raises:
            UserError: the rows lack a column, or are too few.
        """
        self._origin = raw
        rows, split = self._cleaned(raw)
        classification = not self.label_sets and labels.kind_of(rows[self.target], self.task) == "classification"
        split = self._divided(rows, split, classification=classification)
        if self.duplicates == "auto":
            rows, split = self._without_copies(rows, split)
        check_sizes(split, self.shares, unit=self.unit)
        if "target" not in self.learned:
            training = rows[split == "train"]
            # class names come from all splits, so that a class that only the test has is not lost silently
            learned: labels.Target
            if self.label_sets:
                learned = LabelSets.of(rows[self.target], named=self.classes)
            elif classification:
                learned = labels.Classes.of(rows[self.target], named=self.classes, positive=self.positive)
            else:
                learned = labels.Numbers.of(training[self.target])
            self.learned = {"target": learned.state()}
            self.learned |= self.learn(training)
        target = labels.restored(self.learned["target"])
        if isinstance(target, labels.Classes):
            rows, split = self._of_known_classes(rows, split, target)
            self._report_classes(rows[self.target], split, target)
        elif isinstance(target, labels.Numbers):
            warn_of_far(rows[self.target], self.report)
        if isinstance(target, LabelSets):
            self.report.say(frequencies(rows[self.target][split == "train"], target.names))
        self.report.sizes = {name: int((split == name).sum()) for name in SPLITS if (split == name).any()}
        kinds = f"predicting {self.target}"
        if not isinstance(target, labels.Numbers):
            kinds = f"{len(target.names)} {'labels' if self.label_sets else 'classes'}"
        self.report.title = f"{raw.name}: {len(rows):,} {self.unit}, {kinds}"
        return rows, split, target

    def _cleaned(self, raw: Raw) -> tuple[pd.DataFrame, np.ndarray]:
        rows, split = raw.rows, raw.split
        if self.target not in rows:
            raise UserError(no_column("data.target", self.target, list(rows.columns), raw.name))
        self.report.note(raw.bad_rows, "rows that could not be read left out")
        for sentence in raw.notes:
            self.report.say(sentence)
        if not self.label_sets:
            check_single(rows[self.target])
        if raw.as_text and not self.label_sets:
            rows = rows.assign(**{self.target: read_target(rows[self.target], task=self.task, report=self.report)})
        absent = missing(rows[self.target])
        self.report.note(int(absent.sum()), f"rows without a value of {self.target} left out")
        rows, split = rows[~absent].reset_index(drop=True), split[~absent]
        readable = self.load(rows, raw)
        rows, split = rows[readable].reset_index(drop=True), split[readable]
        if self.duplicates in ("drop", "once"):
            rows, split = self._without_repeated(rows, split)
        elif self.duplicates == "keep":
            twice = repeated(self.hashes(rows), split)
            self.report.note(int(twice.sum()), "training rows that occur twice kept")
        if not len(rows):
            raise UserError(f"{raw.name}: no row is left after cleaning ({'; '.join(self.report.lines()[1:])}).")
        lost = 1 - len(rows) / (len(raw.rows) + raw.bad_rows)
        if lost > MUCH:
            self.report.warn(f"{lost:.0%} of the rows are left out; the lines above say why")
        return rows, split

    def _without_repeated(self, rows: pd.DataFrame, split: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
        hashes = self.hashes(rows)
        twice = repeated(hashes, split)
        self.report.note(int(twice.sum()), "training rows that occur twice left out")
        if self.duplicates == "once":
            again = pd.Series(hashes).groupby(split).transform(lambda part: part.duplicated()).to_numpy(dtype=bool) & (
                split != "train"
            )
            self.report.note(int(again.sum()), "validation and test rows that occur twice left out")
            twice |= again
        return rows[~twice].reset_index(drop=True), split[~twice]

    def _without_copies(self, rows: pd.DataFrame, split: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
        """Drop training rows that also occur in another split, if equal rows are copies of one thing."""
        copies: Copies = copies_across(rows, self.hashes(rows), split)
        self.report.note(copies.repeats, f"{self.unit} like an earlier one")
        if not copies.shared.any():
            return rows, split
        held_out, number = int((split != "train").sum()), int(copies.held_out.sum())
        if not copies.are_copies:
            self.report.note(
                number, f"of {held_out:,} validation and test rows equal a training row; all rows are kept"
            )
            return rows, split
        share = copies.shared.sum() / max(1, (split == "train").sum())
        self.report.note(int(copies.shared.sum()), f"training rows ({share:.1%}) that equal a held-out row left out")
        if share > MUCH:
            self.report.warn(
                f"{share:.0%} of the training rows are copies of validation or test rows and are left out; "
                "`data.duplicates=keep` keeps them"
            )
        return rows[~copies.shared].reset_index(drop=True), split[~copies.shared]

    def _divided(self, rows: pd.DataFrame, split: np.ndarray, *, classification: bool) -> np.ndarray:
        """The split of each row (N,): from the source, or else from the options."""
        target = rows[self.target]
        strata = strata_of(target)
        if self.time is not None:
            times = self.moments(rows, self.time)
            lacking = ~np.isfinite(times)
            if lacking.all():
                raise UserError(f"`data.time={self.time}`: the column holds neither dates nor numbers.")
            self.report.note(int(lacking.sum()), f"rows without a readable {self.time} are trained on")
            done = by_time(split, self.shares, times=np.where(lacking, -np.inf, times))
            self.report.say(f"the newest rows by {self.time} are held out")
            return done
        if self.group is not None:
            groups = pd.factorize(self.column(rows, "data.group", self.group))[0]
            self.report.say(f"{groups.max() + 1:,} groups by {self.group}, each in one part")
            return grouped(split, self.shares, groups=groups, strata=strata, seed=self.split_seed)
        done = completed(split, self.shares, strata=strata, seed=self.split_seed)
        if classification:
            cut = [name for name, share in self.shares.items() if share and not np.any(split == name)]
            done = with_every_class(done, cut, classes=strata, seed=self.split_seed)
        return done

    def column(self, rows: pd.DataFrame, option: str, name: str) -> pd.Series:
        """A column that an option names.

        Raises:
            UserError: there is none.
        """
        if name not in rows:
            raise UserError(no_column(option, name, [str(each) for each in rows], self._origin.name))
        return rows[name]

    def moments(self, rows: pd.DataFrame, name: str) -> np.ndarray:
        """Times (N,) float64 of a column of dates or numbers, rising; NaN where there is none."""
        values = self.column(rows, "data.time", name)
        if pd.api.types.is_datetime64_any_dtype(values):
            return dates.seconds(values)
        if pd.api.types.is_numeric_dtype(values):
            return numbers(values)
        texts = [str(text) for text in values.dropna().unique()[:2_000]]
        found = dates.find_format(texts, day_first=getattr(self, "day_first", None))
        if found is not None:
            return dates.seconds(values, found.format)
        decimal, unit, _ = notation(texts)
        return numbers(values, decimal=decimal, unit=unit)

    def _of_known_classes(
        self, rows: pd.DataFrame, split: np.ndarray, target: labels.Classes
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Drop rows of classes that are not known from training."""
        known = target.codes(rows[self.target]) >= 0
        self.report.note(int((~known).sum()), "rows of a class that the model was not trained on left out")
        return (rows, split) if known.all() else (rows[known].reset_index(drop=True), split[known])

    def _report_classes(self, values: pd.Series, split: np.ndarray, target: labels.Classes) -> None:
        codes = target.codes(values)
        counts = {
            name: np.bincount(codes[split == name], minlength=len(target.names))
            for name in SPLITS
            if (split == name).any()
        }
        self.report.classes = {
            name: dict(zip(target.names, map(int, count), strict=True)) for name, count in counts.items()
        }
        if target.positive is not None:
            share = counts["train"][-1] / max(1, counts["train"].sum())
            self.report.say(
                f"positive class: {target.positive} ({share:.1%} of the training {self.unit}); precision, recall, F1 "
                f"and AUROC are about it; `data.positive={target.names[0]}` chooses the other"
            )
        there = np.sum(list(counts.values()), axis=0) > 0
        for name, count in counts.items():
            lacking = [each for each, n, real in zip(target.names, count, there, strict=True) if real and not n]
            if lacking:
                shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
                self.report.warn(f"{name} has no row of {len(lacking)} of {len(target.names)} classes ({shown})")
