"""From the rows of a table to the series that are forecast: read, filled and transformed. Imports no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.cleaning_report import Report
from lantu.data.series.from_table import (
    Series,
    describe_gaps,
    filled_forward,
    how_to_read,
    number_columns,
    read_series,
    transformed,
)
from lantu.data.sources import Raw
from lantu.errors import UserError


@dataclass(frozen=True)
class SeriesReader:
    """The options of `SeriesDataModule` that say how a table becomes series; they are described there."""

    time: str | None
    covariates: list[str]
    transform: str
    covariate_transform: str
    every: str | None
    aggregate: str | None
    fill: str

    @property
    def is_shifted(self) -> bool:
        """Whether a transform leaves the first step without a value."""
        return self.transform != "none" or self.covariate_transform != "none"

    def learn(self, raw: Raw, targets: list[str] | None) -> dict[str, Any]:
        """Return, as plain values, what to forecast and how the table's texts are read.

        Args:
            targets: None: every column of numbers that is no covariate.

        Raises:
            UserError: a column is missing, or holds no numbers or no times.
        """
        targets = targets or [each for each in number_columns(raw.rows, time=self.time) if each not in self.covariates]
        if not targets:
            raise UserError(f"{raw.name} has no column of numbers to forecast.")
        reading = how_to_read(raw.rows, time=self.time, columns=[*targets, *self.covariates])
        return {"targets": targets, "reading": reading}

    def read(self, rows: pd.DataFrame, learned: dict[str, Any], report: Report, *, describes: bool = True) -> Series:
        """Return the series, targets first, as they are forecast.

        Args:
            learned: what `learn` gave.
            describes: report gaps and filled values too, not only what could not be read.
        """
        targets = learned["targets"]
        names = [*targets, *self.covariates]
        series = read_series(
            rows, time=self.time, columns=names, reading=learned["reading"], every=self.every,
            aggregate=self.aggregate, report=report,
        )  # fmt: skip
        if describes:
            describe_gaps(series, names, report, dated=self.time is not None)
        values, filled = series.values, None
        if self.fill == "forward":
            filled = np.isnan(values[:, : len(targets)]).any(axis=1)
            values = filled_forward(values, report if describes else None)
        own = transformed(values[:, : len(targets)], self.transform, targets)
        others = transformed(values[:, len(targets) :], self.covariate_transform, self.covariates)
        return Series(series.times, np.hstack([own, others]), series.row, filled)
