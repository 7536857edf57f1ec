"""Runs as frames, whichever store they were read from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd

from lantu.errors import UserError
from lantu.metric_direction import direction, known_direction
from lantu.slice_names import with_current_slice

INFINITE = 1e300
"""MLflow keeps infinities as the largest number that the database has."""
MONITORED = "lantu.monitored"
"""The tag of runs that `lantu monitor` writes: they trained nothing."""
OUTCOMES = ("lantu.asked", "lantu.baseline", "lantu.pruned", "lantu.directions")
TAGS = (
    "lantu.data",
    "lantu.model",
    "lantu.task",
    "lantu.device",
    "lantu.devices",
    "lantu.sweep",
    "lantu.run_dir",
    "lantu.note",
    *OUTCOMES,
)


@dataclass(frozen=True)
class Selection:
    """Which runs are meant; the parts add up, and none at all means the newest sweep or experiment that trained."""

    sweeps: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    filter: str | None = None
    """MLflow's own filter language; narrows the other three, or searches everywhere."""

    def words(self) -> str:
        """As a person would say it."""
        parts = [
            *(f"sweep {each}" for each in self.sweeps),
            *(f"experiment {each}" for each in self.experiments),
            *([f"{len(self.runs)} named runs"] if self.runs else []),
        ]
        said = ", ".join(parts) or "all runs"
        return f"{said} where {self.filter}" if self.filter else said


@dataclass(frozen=True)
class Runs:
    """Runs side by side. Every frame and series is indexed by the MLflow run id."""

    info: pd.DataFrame
    """name, experiment, status, start and end (milliseconds since 1970), parent (run id or
    None), experiment_id."""
    params: pd.DataFrame
    """Only the parameters that vary, as text, missing where a run has none; a column per dotted name."""
    constants: dict[str, str]
    """The parameters that are the same in every run."""
    metrics: pd.DataFrame
    """The last value of every metric; a column per metric."""
    score: pd.Series
    """The metric that was asked for, at the epoch whose checkpoint was kept; its best value if none was."""
    tags: pd.DataFrame
    steps: pd.Series
    """The last step at which that metric was logged."""

    def __len__(self) -> int:
        return len(self.info)

    @property
    def unfinished(self) -> pd.Series:
        """By run, whether it is still going, or was stopped before its end; a process that was killed looks so too."""
        return self.info["status"].isin(("RUNNING", "SCHEDULED", "KILLED"))

    def failed(self, metric: str) -> pd.Series:
        """By run, whether it crashed, ended in NaN, or finished without the metric."""
        last = self.metrics.get(metric, self.score)
        return (self.info["status"] == "FAILED") | (~self.unfinished & (last.isna() | self.score.isna()))

    def only(self, ids: "pd.Index[str]") -> "Runs":
        """The same for some of the runs."""
        return Runs(
            info=self.info.loc[ids],
            params=self.params.reindex(ids),
            constants=self.constants,
            metrics=self.metrics.reindex(ids),
            score=self.score.reindex(ids),
            tags=self.tags.reindex(ids),
            steps=self.steps.reindex(ids),
        )


class Reader(Protocol):
    """What a store can be asked. Every answer about many runs is one question to the store, or one per page."""

    def select(self, selection: Selection) -> pd.DataFrame:
        """Runs.info of the runs that are meant, parents of sweeps left out."""

    def read(self, info: pd.DataFrame, *, metric: str, mode: str) -> Runs:
        """Parameters, metrics and tags of the runs."""

    def metric_names(self, info: pd.DataFrame) -> list[str]:
        """The metrics that any of the runs has."""

    def history(self, ids: list[str], keys: list[str], *, points: int) -> pd.DataFrame:
        """run, key, step, timestamp (ms), value: by run, key and step; at most about `points` a run and key."""

    def parent_of(self, sweep: str) -> str | None:
        """The run that holds a sweep's trials."""

    def params_of(self, run: str) -> dict[str, str]:
        """The parameters of one run."""


def read(reader: Reader, selection: Selection, *, metric: str = "val/loss", mode: str = "auto") -> Runs:
    """Read the runs that are meant.

    Args:
        reader: from `open_reader`.
        selection: which runs.
        metric: the one that decides; runs without it are read too, with a missing score.
        mode: "min", "max", or "auto" to go by the metric's name.

    Raises:
        UserError: nothing matches, or no run has the metric.
    """
    info = reader.select(selection)
    if info.empty:
        raise UserError(
            f"There are no runs to compare: {selection.words()} matches none. `lantu runs` lists what is here."
        )
    settled = mode in ("min", "max")
    if not settled and mode != "auto":
        direction(metric, mode)
    tentative = mode if settled else known_direction(metric) or "min"
    runs = reader.read(info, metric=metric, mode=tentative)
    if runs.score.notna().sum() == 0:
        from lantu.suggestions import did_you_mean

        names = reader.metric_names(info)
        if metric in names:
            raise UserError(
                f"`metric={metric}`: of the {len(info)} runs, those that have it have no finite value of it, so there "
                "is nothing to compare."
            )
        known = ", ".join(name for name in names if name.startswith("val/")) or ", ".join(names[:12]) or "none at all"
        raise UserError(
            f"`metric={metric}`: none of the {len(info)} runs has it.{did_you_mean(metric, names)} They have: {known}."
        )
    found = mode if settled else recorded_direction(runs, metric) or direction(metric)
    if found != tentative:
        runs = reader.read(info, metric=metric, mode=found)
    return at_best_epoch(replace(runs, metrics=_with_current_slices(runs.metrics)), metric)


def _with_current_slices(metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics with slices under their current names, so that older runs stand in the same columns."""
    old = [name for name in metrics if with_current_slice(str(name)) != name]
    if not old:
        return metrics
    current = metrics.drop(columns=old)
    for name in old:
        found = with_current_slice(str(name))
        current[found] = current[found].fillna(metrics[name]) if found in current else metrics[name]
    return current


def recorded_direction(runs: Runs, metric: str) -> str | None:
    """The direction that the runs' own metrics gave (torchmetrics' `higher_is_better`), where a name does not tell."""
    for each in runs.tags.get("lantu.directions", pd.Series(dtype=object)).dropna():
        try:
            found = json.loads(str(each)).get(metric)
        except (ValueError, AttributeError):
            continue
        if found in ("min", "max"):
            return str(found)
    return None


def at_best_epoch(runs: Runs, metric: str) -> Runs:
    """The runs with their score taken at the best epoch, where they recorded it.

    A run that keeps its best checkpoint records every validation metric of that epoch as `val/NAME_best`.
    """
    kept = runs.metrics.get(f"{metric}_best")
    return runs if kept is None else replace(runs, score=kept.where(kept.notna(), runs.score))


def wide(rows: list[Any], ids: "pd.Index[str]", dtype: str) -> pd.DataFrame:
    """(run, key, value) rows as a frame with a row per run and a column per key, in one pass.

    A pivot of pandas sorts and checks for duplicates; keys are unique per run in every store, so that the cells
    can be written directly.
    """
    import numpy as np

    if not rows:
        return pd.DataFrame(index=ids)
    run, key, value = zip(*rows, strict=True)
    codes, names = pd.factorize(np.asarray(key, dtype=object))
    places = ids.get_indexer(pd.Index(run))
    cells = np.full((len(ids), len(names)), np.nan if dtype == "float64" else None, dtype=dtype)
    cells[places, codes] = np.asarray(value, dtype=dtype)
    return pd.DataFrame(cells, index=ids, columns=names).sort_index(axis=1)


def with_further(
    params: pd.DataFrame, constants: dict[str, str], further: Mapping[str, Mapping[str, str]]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Parameters with those that runs keep beside MLflow's columns.

    Args:
        params: those that vary, by run.
        constants: those that are the same in every run.
        further: by run id; runs that share settings may share one mapping.
    """
    if not further:
        return params, constants
    ids = params.index
    distinct = list({id(each): each for each in further.values()}.values())
    everywhere = len(further) == len(ids)
    same = {}
    if everywhere:
        for name, value in distinct[0].items():
            if name not in params and all(each.get(name) == value for each in distinct[1:]):
                same[name] = value
    settled = same.keys() | constants.keys()
    rows = [(run, *each) for run, kept in further.items() for each in kept.items() if each[0] not in settled]
    rest = wide(rows, ids, "object")
    whole = params.combine_first(rest) if len(rest.columns) else params
    found = {**constants, **same}
    for name in rest:
        if whole[name].notna().all() and whole[name].nunique() == 1:
            found[name] = str(whole[name].iloc[0])
    whole = whole.drop(columns=[name for name in found if name in whole])
    return whole.sort_index(axis=1), found


def further_score(further: Mapping[str, Mapping[str, list[float]]], metric: str, mode: str) -> pd.DataFrame:
    """score and step of a metric that runs keep beside MLflow's columns, by run."""
    place = 2 if mode == "min" else 3
    rows = {run: (kept[metric][place], kept[metric][1]) for run, kept in further.items() if metric in kept}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["score", "step"], dtype=float)


def unknown(what: str, name: str, known: list[str]) -> UserError:
    from lantu.suggestions import did_you_mean

    there = f" There are: {', '.join(sorted(map(str, known))[:20])}." if known else f" There is no {what} yet."
    return UserError(f"`{what}={name}`: there is no {what} of that name.{did_you_mean(name, known)}{there}")
