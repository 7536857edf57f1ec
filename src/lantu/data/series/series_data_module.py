"""Time series: what the last steps tell about the next ones, cut by time."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader

from lantu.data import dates
from lantu.data.base import DataModule
from lantu.data.csv_dialect import with_numbers
from lantu.data.fingerprints import fingerprint_of
from lantu.data.read_table import read_table_with_notes
from lantu.data.series.from_table import (
    AGGREGATES,
    PERIODS,
    TRANSFORMS,
    Series,
    describe_gaps,
    filled_forward,
    how_to_read,
    moment,
    number_columns,
    read_series,
    transformed,
)
from lantu.data.series.time_splits import WALKS, Fold, once, walking
from lantu.data.series.windows import SCALES, Scaling, SeriesWindows
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
        _check_choices(
            transform=(transform, TRANSFORMS), covariate_transform=(covariate_transform, TRANSFORMS),
            fill=(fill, ("none", "forward")), scale=(scale, SCALES),
            every=(every, (None, *PERIODS)), aggregate=(aggregate, (None, *AGGREGATES)),
        )  # fmt: skip
        if split in ("time", "random"):
            raise UserError(
                f"`data.split={split}`: series are always cut by time: give shares such as {{val: 0.1, test: 0.2}}, or "
                f"one of {', '.join(WALKS)}."
            )
        if aggregate == "sum" and fill == "forward":
            raise UserError(
                "`data.aggregate=sum data.fill=forward`: a period without rows would repeat the sum of the one before. "
                "Leave `data.fill` out, which leaves out windows that touch it, or put rows of 0 into the file."
            )
        super().__init__(split=None if split in WALKS else split, **options)
        if source is None and path is None:
            raise UserError("`data.path` must name a table: add `data.path=FILE` to the command.")
        if path is not None:
            source = partial(table_file, path, as_text=True)
        assert source is not None
        self.source = source
        self.time, self.target = time, [target] if isinstance(target, str) else target
        self.covariates = covariates or []
        self.transform, self.covariate_transform = transform, covariate_transform
        self.every, self.aggregate, self.fill = every, aggregate, fill
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
            targets = self.target or [
                each for each in number_columns(raw.rows, time=self.time) if each not in self.covariates
            ]
            if not targets:
                raise UserError(f"{raw.name} has no column of numbers to forecast.")
            reading = how_to_read(raw.rows, time=self.time, columns=[*targets, *self.covariates])
            self.learned = {"targets": targets, "reading": reading}
        self.series = self._series_of(raw.rows, is_reported=True)
        self.cuts = self._folds_of(self.series)
        origins = {name: self._origins(name) for name in SPLITS}
        if not len(origins["train"][0]) or not all(
            (origins["train"][1] == fold).any() for fold in range(len(self.cuts))
        ):
            raise UserError(
                f"{raw.name}: {len(self.series.times):,} steps leave no window of {self.context} steps with the "
                f"{self.horizon} after it to train on. Take a smaller `data.context` or `data.horizon`, or fill "
                "missing steps: `data.fill=forward`."
            )
        if "scaling" not in self.learned:
            places, folds = origins["train"]
            self.learned["scaling"] = Scaling.learned(
                self.series.values, [places[folds == fold] for fold in range(len(self.cuts))], context=self.context,
                how=self.scale, decay=self.decay, targets=len(self.learned["targets"]),
                # what the first windows see is past as well
                rows=[(max(0, fold.train[0] - self.context), fold.train[1]) for fold in self.cuts],
            ).state()  # fmt: skip
        self._check_held_out({name: len(places) for name, (places, _) in origins.items()})
        for name, (places, folds) in origins.items():
            self._warn_of_filled(name, places)
            if len(places):
                self.splits[name] = self._windows(self.series, places, folds, horizon=self.horizon)
                begin, end = (
                    min(each.part(name)[0] for each in self.cuts),
                    max(each.part(name)[1] for each in self.cuts),
                )
                self.fingerprints[name] = fingerprint_of(self.series.times[begin:end], self.series.values[begin:end])
        self.spec = self._facts()
        self._describe(raw)

    def _series_of(self, rows: pd.DataFrame, *, is_reported: bool) -> Series:
        """The transformed series of a table, by what was learned of how it is to be read."""
        targets = self.learned["targets"]
        report = self.report if is_reported else type(self.report)()
        series = read_series(
            rows, time=self.time, columns=[*targets, *self.covariates], reading=self.learned["reading"],
            every=self.every, aggregate=self.aggregate, report=report,
        )  # fmt: skip
        if is_reported:
            describe_gaps(series, [*targets, *self.covariates], report, dated=self.time is not None)
        values = (
            filled_forward(series.values, report if is_reported else None) if self.fill == "forward" else series.values
        )
        count = len(targets)
        own = transformed(values[:, :count], self.transform, targets)
        others = transformed(values[:, count:], self.covariate_transform, self.covariates)
        if not is_reported:
            for finding in report.lines()[1:]:
                warn_once(finding)
        filled = np.isnan(series.values[:, :count]).any(axis=1) if self.fill == "forward" else None
        return Series(series.times, np.hstack([own, others]), series.row, filled)

    def _folds_of(self, series: Series) -> list[Fold]:
        first = self.context + (self.transform != "none" or self.covariate_transform != "none")
        steps = len(series.times)
        test_from = self._step_of(series, self.test_from)
        if self.walk is not None:
            return walking(first, steps, embargo=self.embargo, test_from=test_from, **self.walk_options)
        return once(first, steps, **self.shares, embargo=self.embargo, test_from=test_from)

    def _step_of(self, series: Series, asked: str | int | None) -> int | None:
        """The first step at or after a date."""
        if asked is None or isinstance(asked, int):
            return asked
        try:
            seconds = dates.seconds(pd.Series([pd.Timestamp(asked)]))[0]
        except ValueError as error:
            raise UserError(f"`data.test_from={asked}` is no date such as 2015-01-01.") from error
        step = int(np.searchsorted(series.times, seconds))
        if self.time is None or not 0 < step < len(series.times):
            raise UserError(
                f"`data.test_from={asked}` lies outside the series, {moment(series.times[0])} to "
                f"{moment(series.times[-1])}."
            )
        return step

    def _origins(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """The first forecast step of each example of a part (N,), and its fold (N,)."""
        values = self.series.values
        absent = np.concatenate([[0], np.cumsum(np.isnan(values).any(axis=1))])
        places, folds = [], []
        for number, fold in enumerate(self.cuts):
            begin, end = fold.part(part)
            found = np.arange(max(begin, self.context), end - self.horizon + 1)
            whole = absent[found + self.horizon] == absent[found - self.context]
            places.append(found[whole])
            folds.append(np.full(int(whole.sum()), number))
        return np.concatenate(places), np.concatenate(folds)

    def _check_held_out(self, windows: dict[str, int]) -> None:
        """Refuse a validation or test part that was asked for and holds no window."""
        for part in ("val", "test"):
            longest = max(end - begin for begin, end in (fold.part(part) for fold in self.cuts))
            if longest > 0 and not windows[part]:
                walk = {"val": "data.val_share", "test": "data.refit_every"}
                option = "data.split" if self.walk is None else walk[part]
                raise UserError(
                    f"`data.horizon={self.horizon}`: {part} has {longest:,} steps in a row at most and no window whose "
                    f"steps are all known and whose {self.horizon} steps to forecast lie among them. Forecast fewer "
                    f"steps, make the part longer (`{option}`), or fill missing steps: `data.fill=forward`."
                )

    def _warn_of_filled(self, part: str, origins: np.ndarray) -> None:
        """Say how many steps of validation or test are scored against a value that was filled in."""
        if part == "train" or self.series.filled is None:
            return
        steps = np.unique(origins[:, None] + np.arange(self.horizon))
        if count := int(self.series.filled[steps].sum()):
            self.report.warn(
                f"{count:,} of {len(steps):,} steps to forecast in {part} were missing; they are scored against the "
                "value before them"
            )

    def _windows(self, series: Series, origins: np.ndarray, folds: np.ndarray, *, horizon: int) -> SeriesWindows:
        return SeriesWindows(
            series.values,
            origins,
            folds,
            context=self.context,
            horizon=horizon,
            scaling=self._scaling,
            times=series.times,
        )

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

    def _describe(self, raw: Raw) -> None:
        series, targets = self.series, self.learned["targets"]
        dated = self.time is not None
        span = f", {moment(series.times[0])} to {moment(series.times[-1])}" if dated else ""
        self.report.title = f"{raw.name}: {len(series.times):,} steps{span}, forecasting {', '.join(targets[:5])}"
        self.report.title += f" and {len(targets) - 5} more" if len(targets) > 5 else ""
        self.report.sizes = {name: len(self.splits[name]) for name in self.splits}  # type: ignore[arg-type]
        if self.transform != "none":
            what = {"log_return": "log returns in percent", "difference": "differences"}[self.transform]
            self.report.say(f"forecast are the {what} of each series from step to step")
        possible = sum(
            max(0, end - max(begin, self.context) - self.horizon + 1)
            for fold in self.cuts for begin, end in (fold.part(name) for name in SPLITS)
        )  # fmt: skip
        first_lost = int(self.transform != "none" or self.covariate_transform != "none")
        left_out = possible - sum(self.report.sizes.values())
        if left_out > first_lost:
            self.report.note(left_out, "windows that touch a missing value left out")
        if self.walk is not None:
            first, last = self.cuts[0], self.cuts[-1]
            when = (
                f"{moment(series.times[first.test[0]])} to {moment(series.times[last.test[1] - 1])}"
                if dated
                else (f"steps {first.test[0]:,} to {last.test[1] - 1:,}")
            )
            self.report.say(
                f"{len(self.cuts)} folds, each with a network of its own, trained on the steps before it alone; "
                f"tested {when}"
            )

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
        if self.aggregate is not None:
            columns = [*self.learned["targets"], *self.covariates]
            rows = pd.DataFrame(series.values, columns=columns)
            rows.insert(0, str(self.time), pd.to_datetime(series.times, unit="s"))
            return self.loader(examples), rows
        return self.loader(examples), with_numbers(rows)

    def _forecasts(self, inputs: Any) -> tuple[SeriesWindows, Series]:
        rows = inputs if isinstance(inputs, pd.DataFrame) else pd.DataFrame(inputs)
        series = self._series_of(rows.reset_index(drop=True), is_reported=False)
        origins = np.arange(self.context, len(series.times) + 1)
        absent = np.concatenate([[0], np.cumsum(np.isnan(series.values).any(axis=1))])
        origins = origins[absent[origins] == absent[origins - self.context]]
        if not len(origins):
            needed = self.context + (self.transform != "none" or self.covariate_transform != "none")
            raise UserError(
                f"a forecast needs {needed} steps without a missing value before it, and these {len(rows):,} rows hold "
                "no such stretch."
            )
        newest = len(self.learned["scaling"]["mean"]) - 1  # of walk-forward networks the one that learned the most
        examples = self._windows(series, origins, np.full(len(origins), newest), horizon=0)
        place = series.row[origins - 1]
        examples.answered = np.where(place >= 0, place, origins - 1) if self.aggregate is not None else place
        examples.rows = len(series.times) if self.aggregate is not None else len(rows)
        return examples, series

    def schema(self) -> list[dict[str, str]]:
        time = [] if self.time is None else [{"name": self.time, "type": "string"}]
        return time + [{"name": name, "type": "double"} for name in (*self.learned["targets"], *self.covariates)]

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


def _check_choices(**asked: tuple[Any, tuple[Any, ...]]) -> None:
    for name, (value, known) in asked.items():
        if value not in known:
            words = ", ".join("null" if each is None else each for each in known)
            raise UserError(f"`data.{name}={value}`: it is one of {words}.")
