"""Tables: a row is an example, its columns become features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.batches import Examples, loader
from lantu.data.csv_rows import with_numbers
from lantu.data.read_table import read_table_with_notes
from lantu.data.source_files import files_of
from lantu.data.sources import Raw
from lantu.data.supervised import SupervisedDataModule, linear_model
from lantu.data.table.column import Column
from lantu.data.table.encode_columns import encode
from lantu.data.table.reference import reference
from lantu.data.table.rows import TableRows, own_file
from lantu.data.table.target_features import TargetFeatures
from lantu.data.table.woe import Bins
from lantu.errors import UserError
from lantu.notices import warn_once


class TableDataModule(SupervisedDataModule, TableRows):
    """Numbers standardised, categories one-hot, dates as numbers; missing values filled in and marked.

    Batches are x float32 (N, features) and the target.

    Args:
        path: a file of your own, instead of a source.
        ignore: columns that must not be learned from, such as an id.
        keep: columns to learn from even if they look like keys.
        day_first: whether 03/04/2020 is the third of April; None: as the column decides, else by its separator.
        numbers: piecewise (standardised, normal scores of ranks, and piecewise linear between 16 quantiles), auto
            (standardised, and ranks besides for a column with outliers or skew), standard, quantile (ranks alone), or
            woe: every column, categories too, is binned and replaced by its weight of evidence for one of two classes.
        categories: target: columns of more than 50 categories have the mean target of each category as features
            besides; one_hot: not.
        woe: how it is binned: bins (at most), least (share of the rows in each) and monotone.
        options: of `SupervisedDataModule`.
    """

    unit = "rows"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        ignore: list[str] | None = None,
        keep: list[str] | None = None,
        day_first: bool | None = None,
        numbers: str = "standard",
        woe: dict[str, Any] | None = None,
        categories: str = "one_hot",
        duplicates: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(source=source or own_file(path), duplicates=duplicates, **options)
        self.set_columns(ignore=ignore, keep=keep, day_first=day_first, numbers=numbers, woe=woe, categories=categories)

    _training_targets: np.ndarray | None = None
    """Targets (N, T) while the training rows are prepared, so that none is told its own target."""

    def files_read(self) -> list[Path] | None:
        return files_of(self.source)

    def table_columns(self) -> list[dict[str, Any]]:
        return list(self.learned.get("columns") or [])

    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        # of training rows, what could not be read is said once, by the first pass over them
        features = encode(rows, self._columns, self._say, training=self._training_targets)
        return Examples(torch.from_numpy(features), y)

    def prepared_training(self, rows: pd.DataFrame, y: Tensor) -> Examples:
        self._training_targets = self.targets_of(rows)
        try:
            return self.prepared(rows, y)  # which a subclass may have written anew
        finally:
            self._training_targets = None

    def facts(self) -> dict[str, Any]:
        names = [feature for column in self._columns for feature in column.features]
        evidence = {"woe_columns": self._evidence()} if self.numbers == "woe" else {}
        return {
            "kind": "table",
            "features": len(names),
            "numeric_features": self._numeric(),
            "feature_names": names,
            "feature_columns": [column.name for column in self._columns for _ in column.features],
            **evidence,
        }

    def feature_groups(self) -> list[tuple[str, list[int]]]:
        groups, first = [], 0
        for column in self._columns:
            groups.append((column.name, list(range(first, first + len(column.features)))))
            first += len(column.features)
        return groups

    def reference(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.learned.get("reference")
        return found

    def describe_rows(self, rows: pd.DataFrame) -> dict[str, Any]:
        lacking = [each.name for each in self._columns if each.name not in rows]
        if lacking:
            raise UserError(f"The table lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}.")
        return reference(rows, self._columns)

    def _evidence(self) -> list[dict[str, Any]]:
        """The bins of each column: what they hold, their weight of evidence, training rows and positives."""
        found = []
        for column in self._columns:
            bins = Bins(**column.woe)
            found.append(
                {
                    "name": column.name,
                    "bins": bins.labels(column.categories, others=column.others),
                    "woe": bins.values,
                    "rows": bins.counts,
                    "positives": bins.events,
                    "information_value": bins.information_value,
                }
            )
        return found

    def _numeric(self) -> list[int]:
        """Places of the features that are numbers with more than two values."""
        places: list[int] = []
        first = 0
        for column in self._columns:
            if column.woe or (column.kind in ("number", "date") and not column.binary):
                places += range(first, first + 1 + column.scales)
            if column.target:
                last = first + len(column.features) - column.marks_missing
                places += range(last - TargetFeatures.width(column.target), last)
            first += len(column.features)
        return places

    def schema(self) -> list[dict[str, str]]:
        return [{"name": column.name, "type": column.type} for column in self._columns]

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """The columns as a network sees them."""
        x, y = self.splits[split].__getitems__(rows.tolist())  # type: ignore[attr-defined]
        return x.flatten(1).float().numpy(), y.numpy().reshape(-1)

    def classical_model(self, *, classifies: bool, shape: tuple[int, int]) -> tuple[str, Any]:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        trees = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
        return "gradient-boosted trees", trees(random_state=0, early_stopping=False)

    def classical_models(self, *, classifies: bool, shape: tuple[int, int]) -> dict[str, tuple[str, Any]]:
        """A linear model, and gradient-boosted trees."""
        name, linear = linear_model(classifies=classifies)
        return {
            "linear": (f"{name} regression", linear),
            "classical": self.classical_model(classifies=classifies, shape=shape),
        }

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        rows, bad, notes = read_table_with_notes(path, as_text=True)
        for sentence in [f"{bad} rows could not be read"] * bool(bad) + notes:
            self._say(sentence)
        return loader(self.examples_of(rows), batch_size=self.batch_size, workers=0), with_numbers(rows)

    def examples_of(self, inputs: pd.DataFrame) -> Examples:
        examples = self.prepared(inputs, None)
        examples.source = inputs
        return examples

    def _say(self, sentence: str) -> None:
        """Tell a person what was found: in the report while the data are being read, on the terminal afterwards."""
        if self.spec:
            warn_once(sentence)
        else:
            self.report.say(sentence)

    @property
    def _columns(self) -> list[Column]:
        return [Column(**each) for each in self.learned["columns"]]
