"""The way from rows to examples that images, tables and texts share: clean, split, learn, encode."""

import json
from abc import abstractmethod
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lantu.data import labels
from lantu.data.base import DataModule
from lantu.data.batches import Examples
from lantu.data.cleaning import missing, repeated, row_hashes
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, completed, strata_of
from lantu.errors import UserError


class SupervisedDataModule(DataModule):
    """Rows of inputs with one target.

    Args:
        source: gives the rows (`lantu.data.hub`, ...).
        target: the column to predict.
        task: classification, regression, or auto: a column with more than 20 different numbers is a quantity.
        classes: names in the order of their numbers; None: sorted. The last of two is the positive one.
        duplicates: drop or keep training rows that occur before or in another part; they are counted either way. once:
            drop rows of validation and test too that occur before in their part, each of which would count twice.
        options: of `DataModule`.
    """

    def __init__(
        self,
        *,
        source: Callable[[], Raw],
        target: str = "label",
        task: str = "auto",
        classes: list[str] | None = None,
        duplicates: str = "drop",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if duplicates not in ("drop", "keep", "once"):
            raise UserError(
                f"`data.duplicates={duplicates}`: they can be dropped from training (drop), from every part (once), or "
                "kept (keep)."
            )
        self.source = source
        self.target = target
        self.task = task
        self.classes = classes
        self.duplicates = duplicates

    # What a modality says

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        """Make the inputs readable (decode images); returns which rows (N,) could be read, and reports the others."""
        return np.ones(len(rows), dtype=bool)

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        """A hash (N,) of each row's inputs and target."""
        return row_hashes(rows)

    @abstractmethod
    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        """What encoding needs to know of the training rows, as plain values."""

    @abstractmethod
    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        """Examples of rows, with targets if there are any."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The inputs' part of `spec`."""

    # What they share

    def read(self) -> None:
        raw = self.source()
        self._origin = raw
        rows, split = self._cleaned(raw)
        classification = labels.kind_of(rows[self.target], self.task) == "classification"
        split = completed(split, self.shares, strata=strata_of(rows[self.target]), seed=self.split_seed)
        if "target" not in self.learned:
            training = rows[split == "train"]
            # class names come from all parts: a class that only the test has must not be lost without a word
            learned: labels.Target = (
                labels.Classes.of(rows[self.target], named=self.classes)
                if classification
                else labels.Numbers.of(training[self.target])
            )
            self.learned = {"target": learned.state(), **self.learn(training)}
        target = labels.restored(self.learned["target"])
        hashes = self.hashes(rows)
        for name in SPLITS:
            chosen = np.flatnonzero(split == name)
            if len(chosen):
                part = rows.iloc[chosen]
                self.splits[name] = self.prepared(part, target.encode(part[self.target]))
                self.fingerprints[name] = blake2b(hashes[chosen].tobytes(), digest_size=16).hexdigest()
                self.report.sizes[name] = len(chosen)
        y = self.splits["train"].y  # type: ignore[attr-defined]
        self.spec = {**self.facts(), **target.facts(y)}
        kinds = f"{self.spec['classes']} classes" if target.kind == "classification" else f"predicting {self.target}"
        self.report.title = f"{raw.name}: {len(rows):,} {self.unit}, {kinds}"

    def origin(self) -> dict[str, Any]:
        kind = "string" if self.spec["task"] == "classification" else "double"
        schema = {"mlflow_colspec": [*self.schema(), {"name": self.target, "type": kind}]}
        return {
            "name": self._origin.name,
            "source_type": self._origin.source_type,
            "source": json.dumps(self._origin.source),
            "schema": json.dumps(schema) if len(schema["mlflow_colspec"]) <= 1000 else None,
        }

    def _cleaned(self, raw: Raw) -> tuple[pd.DataFrame, np.ndarray]:
        rows, split = raw.rows, raw.split
        if self.target not in rows:
            raise UserError(_no_column("data.target", self.target, list(rows.columns), raw.name))
        self.report.note(raw.bad_rows, "rows that could not be read left out")
        absent = missing(rows[self.target])
        self.report.note(int(absent.sum()), f"rows without a value of {self.target} left out")
        rows, split = rows[~absent].reset_index(drop=True), split[~absent]
        readable = self.load(rows, raw)
        rows, split = rows[readable].reset_index(drop=True), split[readable]
        hashes = self.hashes(rows)
        twice = repeated(hashes, split)
        self.report.note(
            int(twice.sum()), f"training rows that occur twice {'kept' if self.duplicates == 'keep' else 'left out'}"
        )
        if self.duplicates == "once":
            again = pd.Series(hashes).groupby(split).transform(lambda part: part.duplicated()).to_numpy(dtype=bool) & (
                split != "train"
            )
            self.report.note(int(again.sum()), "validation and test rows that occur twice left out")
            twice |= again
        if self.duplicates != "keep":
            rows, split = rows[~twice].reset_index(drop=True), split[~twice]
        if not len(rows):
            raise UserError(f"{raw.name}: no row is left after cleaning ({'; '.join(self.report.lines()[1:])}).")
        return rows, split


def linear_model(*, classifies: bool) -> tuple[str, Any]:
    """The plainest linear model of scikit-learn, by name: logistic regression, or ridge with its penalty chosen."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return ("logistic", LogisticRegression(max_iter=1000)) if classifies else ("ridge", RidgeCV(np.logspace(-3, 3, 13)))


def _no_column(option: str, name: str, columns: list[str], where: str) -> str:
    from lantu.suggestions import did_you_mean

    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return f"`{option}={name}`: {where} has no such column.{did_you_mean(name, columns)} There are: {shown}."
