"""Time series: what the last steps tell about the next ones, cut by time."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader

from lantu.data.cleaning_report import Report
from lantu.data.csv_rows import with_numbers
from lantu.data.data_module import DataModule
from lantu.data.fingerprints import fingerprint_of
from lantu.data.read_table import read_table_with_notes
from lantu.data.series.from_table import Series, step_from
from lantu.data.series.series_checks import check_options, check_windows
from lantu.data.series.series_reader import SeriesReader
from lantu.data.series.series_report import describe_walk, describe_windows, title, warn_of_filled
from lantu.data.series.time_splits import WALKS, Fold, once, walking
from lantu.data.series.window_scaling import Scaling
from lantu.data.series.windows import SeriesWindows, complete_origins
from lantu.data.sources import Raw, table_file
from lantu.data.splitting import SPLITS
from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.renamed_options import value_of_renamed


class SeriesDataModule(DataModule):
    """Rows by time, several series; an example is a window of past steps and the `horizon` steps after it.

    Nothing of a step is seen before it: windows end before what they forecast, parts follow each other in time, and
    means and deviations are those of the training part. Batches are those of `SeriesWindows`.

    Args:
        source: gives the rows (`lantu.data.hub`, ...).
        path: a file of your own; the source is then not read.
        time: the column with the moment of each row; None: rows stand in their order.
        target: the columns to forecast; None: all that hold numbers.
        covariates: further columns that the network sees, on the scale of the training part.
        transform: none, difference, or log_return (percent), of the targets.
        covariate_transform: the same, of the covariates.
        every: length of a step (hour, day, week, month, quarter, year), with missing steps filled in as missing; None:
            each row is a step, whatever lies between.
        aggregate: how several rows of a step become one: mean, sum, count, last.
        fill: forward (a missing value is the last one known, and is scored as if it were measured) or none: windows
            that touch a missing value are left out.
        context: steps that a network sees.
        horizon: steps to forecast.
        scale, decay: of `Scaling`.
        season: steps of a season, for the seasonal baseline and MASE; 1: none.
        split: shares of "val" and "test", the newest steps; or walk_forward, or expanding: see `walking`.
        train_steps, refit_every, val_share, embargo: of `walking`; `embargo` of every split.
        test_from: the date (or the row's number) at which the first test part begins.
        inputs, input_transform: the names that `covariates` and `covariate_transform` had before.
        options: of `DataModule`.
    """

    unit = "windows"

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        time: str | None = None,
        target: str | list[str] | None = None,
        covariates: list[str] | None = None,
        transform: str = "none",
        covariate_transform: str = "none",
        every: str | None = None,
        aggregate: str | None = None,
        fill: str = "none",
        context: int = 64,
        horizon: int = 1,
        scale: str = "train",
        decay: float = 0.94,
        season: int = 1,
        split: dict[str, float] | str | None = None,
        train_steps: int = 1000,
        refit_every: int = 250,
        val_share: float = 0.15,
        embargo: int = 0,
        test_from: str | int | None = None,
        inputs: list[str] | None = None,
        input_transform: str | None = None,
        **options: Any,
    ) -> None:
        covariates = value_of_renamed(covariates, inputs, old="data.inputs", new="data.covariates")
        covariate_transform = value_of_renamed(
            covariate_transform, input_transform, old="data.input_transform", new="data.covariate_transform"
        )
        check_options(
            split=split, transform=transform, covariate_transform=covariate_transform, every=every,
            aggregate=aggregate, fill=fill, scale=scale,
        )  # fmt: skip
        super().__init__(split=None if split in WALKS else split, **options)
        if source is None and path is None:
            raise UserError("`data.path` must name a table: add `data.path=FILE` to the command.")
        if path is not None:
            source = partial(table_file, path, as_text=True)
        assert source is not None
        self.source = source
        self.time, self.target = time, [target] if isinstance(target, str) else target
        self.reader = SeriesReader(time, covariates or [], transform, covariate_transform, every, aggregate, fill)
        self.context, self.horizon, self.season = context, horizon, season
        self.scale, self.decay = scale, decay
        self.walk = split if isinstance(split, str) else None
        self.walk_options: dict[str, Any] = {
            "train_steps": train_steps, "refit_every": refit_every, "val": val_share, "expanding": split == "expanding"
        }  # fmt: skip
        self.embargo, self.test_from = embargo, test_from
        self.cuts: list[Fold] = []
        """The folds, known after `setup`."""
        self.series: Series
        """All steps, known after `setup`; `values` holds the targets as they are forecast, then the covariates."""

    # Reading

    def read(self) -> None:
        raw = self.source()
        self._origin = raw
        self.report.note(raw.bad_rows, "rows that could not be read left out")
        for sentence in raw.notes:
            self.report.say(sentence)
        if not self.learned:
            self.learned = self.reader.learn(raw, self.target)
        self.series = self.reader.read(raw.rows, self.learned, self.report)
        self.cuts = self._folds_of(self.series)
        origins = {name: self._origins(name) for name in SPLITS}
        windows = {name: [len(each) for each in of_folds] for name, of_folds in origins.items()}
        check_windows(
            raw.name, windows, self.cuts, steps=len(self.series.times), context=self.context, horizon=self.horizon,
            walks=self.walk is not None,
        )  # fmt: skip
        if "scaling" not in self.learned:
            self.learned["scaling"] = Scaling.learned(
                self.series.values, origins["train"], context=self.context,
                how=self.scale, decay=self.decay, targets=len(self.learned["targets"]),
                # what the first windows see is past as well
                rows=[(max(0, fold.train[0] - self.context), fold.train[1]) for fold in self.cuts],
            ).state()  # fmt: skip
        for name, of_folds in origins.items():
            self._add_split(name, of_folds)
        self.spec = self._facts()
        self._describe(raw.name)

    def _folds_of(self, series: Series) -> list[Fold]:
        first = self.context + self.reader.is_shifted
        steps = len(series.times)
        test_from = self.test_from
        if isinstance(test_from, str):
            test_from = step_from(series, test_from, dated=self.time is not None)
        if self.walk is not None:
            return walking(first, steps, embargo=self.embargo, test_from=test_from, **self.walk_options)
        return once(first, steps, **self.shares, embargo=self.embargo, test_from=test_from)

    def _origins(self, part: str) -> list[np.ndarray]:
        """For each fold, the first forecast step of each of its examples of a part (N,)."""
        return [
            complete_origins(self.series.values, *fold.part(part), context=self.context, horizon=self.horizon)
            for fold in self.cuts
        ]

    def _add_split(self, name: str, of_folds: list[np.ndarray]) -> None:
        origins = np.concatenate(of_folds)
        folds = np.repeat(np.arange(len(of_folds)), [len(each) for each in of_folds])
        if name != "train" and self.series.filled is not None:
            warn_of_filled(self.report, name, origins, self.series.filled, horizon=self.horizon)
        if len(origins):
            self.splits[name] = self._windows(self.series, origins, folds, horizon=self.horizon)
            parts = [fold.part(name) for fold in self.cuts]
            begin, end = min(first for first, _ in parts), max(last for _, last in parts)
            self.fingerprints[name] = fingerprint_of(self.series.times[begin:end], self.series.values[begin:end])

    def _windows(self, series: Series, origins: np.ndarray, folds: np.ndarray, *, horizon: int) -> SeriesWindows:
        options: dict[str, Any] = {"context": self.context, "horizon": horizon, "scaling": self._scaling}
        return SeriesWindows(series.values, origins, folds, times=series.times, **options)

    @property
    def _scaling(self) -> Scaling:
        return Scaling.restored(
            self.learned["scaling"], how=self.scale, decay=self.decay, targets=len(self.learned["targets"])
        )

    def _facts(self) -> dict[str, Any]:
        targets = self.learned["targets"]
        variables = self._scaling.variables
        begin, end = self.cuts[0].train
        past = self.series.values[begin:end, : len(targets)]
        naive = np.nanmean(np.abs(past[self.season :] - past[: -self.season]), axis=0)
        return {
            "kind": "series",
            "task": "forecasting",
            "steps": self.context,
            "variables": variables,
            "features": self.context * variables,
            "outputs": self.horizon * len(targets),
            "horizon": self.horizon,
            "target_names": list(targets),
            "folds": len(self.cuts),
            "season": self.season,
            "naive_error": naive.tolist(),
            "vocab_size": None,
            "pad_id": None,
            "per_token": False,
        }

    def _describe(self, name: str) -> None:
        dated, report = self.time is not None, self.report
        report.title = title(name, self.series, self.learned["targets"], dated=dated)
        report.sizes = {part: len(self.splits[part]) for part in self.splits}  # type: ignore[arg-type]
        describe_windows(
            report, self.cuts, windows=sum(report.sizes.values()), context=self.context, horizon=self.horizon,
            transform=self.reader.transform, is_shifted=self.reader.is_shifted,
        )  # fmt: skip
        if self.walk is not None:
            describe_walk(report, self.cuts, self.series.times, dated=dated)

    # New inputs

    def examples_of(self, inputs: Any) -> SeriesWindows:
        """One example for each step that has `context` steps up to it, which are seen: the forecast is of those after.

        Args:
            inputs: a data frame with the series' columns, of at least `context` steps.
        """
        return self._forecasts(inputs)[0]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """The rows of a file; each is answered by the forecast made after it, of the steps that follow."""
        rows, bad, notes = read_table_with_notes(path, as_text=True)
        for sentence in [f"{bad} rows could not be read"] * bool(bad) + notes:
            warn_once(sentence)
        examples, series = self._forecasts(rows)
        if self.reader.aggregate is not None:
            columns = [*self.learned["targets"], *self.reader.covariates]
            rows = pd.DataFrame(series.values, columns=columns)
            rows.insert(0, str(self.time), pd.to_datetime(series.times, unit="s"))
            return self.loader(examples), rows
        return self.loader(examples), with_numbers(rows)

    def _forecasts(self, inputs: Any) -> tuple[SeriesWindows, Series]:
        rows = inputs if isinstance(inputs, pd.DataFrame) else pd.DataFrame(inputs)
        report = Report()
        series = self.reader.read(rows.reset_index(drop=True), self.learned, report, describes=False)
        for finding in report.lines()[1:]:
            warn_once(finding)
        origins = complete_origins(series.values, 0, len(series.times), context=self.context, horizon=0)
        if not len(origins):
            needed = self.context + self.reader.is_shifted
            raise UserError(
                f"a forecast needs {needed} steps without a missing value before it, and these {len(rows):,} rows hold "
                "no such stretch."
            )
        newest = len(self.learned["scaling"]["mean"]) - 1  # of walk-forward networks the one that learned the most
        examples = self._windows(series, origins, np.full(len(origins), newest), horizon=0)
        place = series.row[origins - 1]
        examples.answered = np.where(place >= 0, place, origins - 1) if self.reader.aggregate is not None else place
        examples.rows = len(series.times) if self.reader.aggregate is not None else len(rows)
        return examples, series

    def schema(self) -> list[dict[str, str]]:
        time = [] if self.time is None else [{"name": self.time, "type": "string"}]
        return time + [{"name": name, "type": "double"} for name in (*self.learned["targets"], *self.reader.covariates)]

    def times(self, split: str) -> np.ndarray:
        """When the first step is that each example forecasts (N,): datetime64, or the step's number."""
        examples = self.splits[split]
        assert isinstance(examples, SeriesWindows)
        times = examples.times[examples.origins]
        return pd.to_datetime(times, unit="s").to_numpy() if self.time is not None else times

    def row_ids(self, split: str) -> list[Any]:
        """The time of the first step that each example forecasts."""
        times = self.times(split)
        return [str(each)[:16] for each in times] if self.time is not None else times.astype(int).tolist()

    def origin(self) -> dict[str, Any]:
        return {
            "name": self._origin.name,
            "source_type": self._origin.source_type,
            "source": json.dumps(self._origin.source),
            "schema": json.dumps({"mlflow_colspec": self.schema()}),
        }

    def _order(self, split: str) -> dict[str, Any]:
        """In a walk, batches are of one fold, or few: each then trains few networks."""
        order = super()._order(split)
        examples = self.splits[split]
        assert isinstance(examples, SeriesWindows)
        return {**order, "lengths": examples.folds} if len(self.cuts) > 1 else order
