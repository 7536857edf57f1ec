"""What a table teaches about its columns; and the report of that alone. Knows no torch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lantu.data import labels
from lantu.data.arranging import ArrangedRows, check_arrangement
from lantu.data.cleaning_report import Report
from lantu.data.label_sets import COLUMN, joined_labels
from lantu.data.sources import Raw, table_file
from lantu.data.splitting import shares
from lantu.data.table.column import Column, state
from lantu.data.table.encode_columns import encode
from lantu.data.table.learn_columns import learn
from lantu.data.table.reference import reference
from lantu.data.table.suspicions import suspicious
from lantu.data.table.target_features import MOST_STORED, MOST_TARGETS
from lantu.data.table.woe import Options
from lantu.errors import UserError


class TableRows(ArrangedRows):
    """The options of `TableDataModule` at work on rows."""

    words = True
    """Whether free text is to become features."""

    def set_columns(
        self,
        *,
        ignore: list[str] | None,
        keep: list[str] | None,
        day_first: bool | None,
        numbers: str,
        woe: dict[str, Any] | None = None,
        categories: str = "one_hot",
    ) -> None:
        """Take the options that concern columns.

        Raises:
            UserError: there is no such encoding.
        """
        if numbers not in ("piecewise", "auto", "standard", "quantile", "woe"):
            raise UserError(
                f"`data.numbers={numbers}`: numbers are encoded as piecewise, auto, standard, quantile, or woe (weight "
                "of evidence)."
            )
        if categories not in ("one_hot", "target"):
            raise UserError(f"`data.categories={categories}`: categories are encoded as one_hot or target.")
        self.ignore = ignore or []
        self.keep = keep or []
        self.day_first = day_first
        self.numbers = numbers
        self.categories = categories
        self.binning = Options.of(woe)

    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        for option, names in (("ignore", self.ignore), ("keep", self.keep)):
            for name in names:
                self.column(rows, f"data.{option}", name)
        left_out = [self.target, *self.ignore, *([self.group] if self.group and self.group not in self.keep else [])]
        inputs = rows.drop(columns=list(dict.fromkeys(left_out)))
        learned = learn(
            inputs,
            self.report,
            numbers=self.numbers,
            day_first=self.day_first,
            keep=frozenset(self.keep),
            words=self.words and self.numbers != "woe",
            binning=(self._positive(rows), self.binning) if self.numbers == "woe" else None,
            targets=self.targets_of(rows) if self.words else None,
        )
        suspicious(inputs, rows[self.target], learned, self.report)
        return {"columns": state(learned), "reference": reference(inputs, learned, most=MOST_STORED)}

    def targets_of(self, rows: pd.DataFrame) -> np.ndarray | None:
        """What categories are encoded by: (N, 1), or (N, classes) of three classes or more; None: not by the target."""
        if self.categories != "target" or self.numbers == "woe":
            return None
        target = labels.restored(self.learned["target"])
        if isinstance(target, labels.Numbers):
            return (pd.to_numeric(rows[self.target]).to_numpy(dtype=np.float64) - target.mean)[:, None] / target.std
        if not isinstance(target, labels.Classes) or len(target.names) > MOST_TARGETS:
            return None
        codes = target.codes(rows[self.target])
        return (codes[:, None] == np.arange(len(target.names))[len(target.names) == 2 :]).astype(np.float64)

    def _positive(self, rows: pd.DataFrame) -> np.ndarray:
        """Whether each row (N,) is of the positive class.

        Raises:
            UserError: the target is not one of two classes.
        """
        target = labels.restored(self.learned["target"])
        if not isinstance(target, labels.Classes) or len(target.names) != 2:
            raise UserError(
                "`data.numbers=woe` replaces values by their log-odds of one of two classes, and "
                f"`{self.target}` is not one of two classes: take `data.numbers=quantile`."
            )
        return target.codes(rows[self.target]) == 1


class TableReport(TableRows):
    """What training on a table would say of it, found without torch.

    Args:
        options: of `TableDataModule`; those that concern batches do not matter here.
    """

    unit = "rows"
    words = False

    def __init__(self, *, source: Callable[[], Raw] | None = None, path: str | None = None, **options: Any) -> None:
        given = {
            "target": "label", "task": "auto", "classes": None, "positive": None, "duplicates": "auto", "group": None,
            "time": None, "ignore": None, "keep": None, "day_first": None, "numbers": "standard", "woe": None,
            "split": None, "split_seed": 0, "delimiter": None, **options,
        }  # fmt: skip
        check_arrangement(**{name: given[name] for name in ("duplicates", "group", "time", "split")})
        for name in ("target", "task", "classes", "duplicates", "group", "time", "split_seed"):
            setattr(self, name, given[name])
        self.positive = None if given["positive"] is None else str(given["positive"])
        self.set_columns(**{name: given[name] for name in ("ignore", "keep", "day_first", "numbers", "woe")})
        self.source = source or own_file(path)
        self.label_sets = given["delimiter"] is not None or not isinstance(self.target, str)
        if self.label_sets:
            joined = {"target": given["target"], "delimiter": given["delimiter"]}
            self.source = partial(joined_labels, self.source, **joined)
            self.target = self.target if isinstance(self.target, str) else COLUMN
        self.shares = shares(given["split"])
        self.report = Report(unit=self.unit)
        self.learned: dict[str, Any] = {}

    def examine(self) -> Report:
        """Read the table as training would, and say what was found."""
        rows, split, _ = self.arranged(self.source())
        self.training = rows[split == "train"]
        learned = [Column(**each) for each in self.learned["columns"]]
        for name in self.report.sizes:
            encode(rows[split == name], learned, self.report.say)
        return self.report


def own_file(path: str | None) -> Callable[[], Raw]:
    """What reads a table of the user's own."""
    if path is None:
        raise UserError("`data.path` must name a table: add `data.path=FILE` to the command.")
    return partial(table_file, path, as_text=True)
