"""Turn rows with a target into examples, for images, tables and texts: clean, split, fit, encode."""

import json
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lantu.data.arranging import ArrangedRows, check_arrangement
from lantu.data.batches import Examples
from lantu.data.data_module import DataModule
from lantu.data.folds import in_folds
from lantu.data.label_sets import COLUMN, joined_labels
from lantu.data.source_files import files_of, reads
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS
from lantu.errors import UserError


class SupervisedDataModule(DataModule, ArrangedRows):
    """Rows of inputs with one target.

    Args:
        source: gives the rows (`lantu.data.hub`, ...).
        target: the column to predict; several columns, or one with a `delimiter`, are labels of which a row has any
            number.
        delimiter: what stands between the labels of a cell, such as "|"; None: a cell is one class or number.
        task: classification, regression, or auto: a column with more than 20 different numbers is a quantity.
        classes: names in the order of their numbers; None: sorted, with the positive one of two last.
        positive: the one of two classes that precision, recall, F1 and AUROC are about; None: by the rules of
            `positive_class`.
        duplicates: drop or keep training rows that occur before or in another part; they are counted either way. once:
            drop rows of validation and test too that occur before in their part, each of which would count twice. auto:
            leave out training rows that equal one of another part, where equal rows are copies of one thing and not
            different things that look alike.
        group: a column whose rows of one value (a patient, a customer) stay in one part.
        time: a column of moments: the newest rows are the test part, those before them the validation part.
        options: of `DataModule`.
    """

    def __init__(
        self,
        *,
        source: Callable[[], Raw],
        target: str | list[str] = "label",
        delimiter: str | None = None,
        task: str = "auto",
        classes: list[str] | None = None,
        positive: str | None = None,
        duplicates: str = "drop",
        group: str | None = None,
        time: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_arrangement(duplicates=duplicates, group=group, time=time, split=options.get("split"))
        self.label_sets = delimiter is not None or not isinstance(target, str)
        if self.label_sets:
            source = partial(joined_labels, source, target=target, delimiter=delimiter)
        self.source = source if self.folds is None else partial(self._in_folds, source)
        self.target = target if isinstance(target, str) else COLUMN
        self.task = task
        self.classes = classes
        self.positive = None if positive is None else str(positive)
        self.duplicates = duplicates
        self.group = group
        self.time = time

    cuts_folds = True

    # What a modality implements

    @abstractmethod
    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        """Examples of rows, with targets if there are any."""

    def prepared_training(self, rows: pd.DataFrame, y: Tensor) -> Examples:
        """Examples of the training rows; a modality may encode them unlike later ones."""
        return self.prepared(rows, y)

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The part of `spec` that describes the inputs."""

    # What they share

    def read(self) -> None:
        rows, split, target = self.arranged(self.source())
        hashes = self.hashes(rows)
        for name in self.carried:
            self.column(rows, "task.slices", name)
        for name in SPLITS:
            chosen = np.flatnonzero(split == name)
            if len(chosen):
                part = rows.iloc[chosen]
                self.rows[name] = part[self.carried]
                prepared = self.prepared_training if name == "train" else self.prepared
                self.splits[name] = prepared(part, target.encode(part[self.target]))
                self.fingerprints[name] = blake2b(hashes[chosen].tobytes(), digest_size=16).hexdigest()
        y = self.splits["train"].y  # type: ignore[attr-defined]
        self.spec = {**self.facts(), **target.facts(y)}

    @reads(files_of)
    def _in_folds(self, source: Callable[[], Raw]) -> Raw:
        assert self.fold is not None
        assert self.folds is not None
        if self.time is not None:
            raise UserError("`data.folds` and `data.time`: rows are cut into folds at random, or by time, not both.")
        return in_folds(
            source(), fold=self.fold, folds=self.folds, target=self.target, group=self.group, seed=self.split_seed
        )

    def origin(self) -> dict[str, Any]:
        kind = "double" if self.spec["task"] == "regression" else "string"
        schema = {"mlflow_colspec": [*self.schema(), {"name": self.target, "type": kind}]}
        return {
            "name": self._origin.name,
            "source_type": self._origin.source_type,
            "source": json.dumps(self._origin.source),
            "schema": json.dumps(schema) if len(schema["mlflow_colspec"]) <= 1000 else None,
        }


def linear_model(*, classifies: bool) -> tuple[str, Any]:
    """The plainest linear model of scikit-learn, by name: logistic regression, or ridge with its penalty chosen."""
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return ("logistic", LogisticRegression(max_iter=1000)) if classifies else ("ridge", RidgeCV(np.logspace(-3, 3, 13)))
