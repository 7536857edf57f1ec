"""Read a tracking server, or any other store, through MLflow's own client."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from lantu.compare.reading.further_points import further_points
from lantu.compare.reading.run_frames import INFINITE, MONITORED, TAGS, Runs, Selection, further_score, unknown, wide
from lantu.errors import UserError
from lantu.tracking.further import METRICS, from_tags, metrics_of, params_of
from lantu.tracking.mlflow_client import FAILED, open_mlflow

PAGE = 1000
"""Runs asked for at a time."""
BULK = 100
"""Runs whose curves a server gives in one answer."""


P = ParamSpec("P")
R = TypeVar("R")


def _usable(method: Callable[P, R]) -> Callable[P, R]:
    """A method that says in a sentence that a server's answer is not of MLflow's form, such as a step that is text."""

    @wraps(method)
    def call(*given: P.args, **options: P.kwargs) -> R:
        from mlflow.exceptions import MlflowException

        try:
            return method(*given, **options)
        except UserError:
            raise
        except (MlflowException, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            if isinstance(error, MlflowException) and error.__cause__ is None:
                raise  # MLflow's own, of which the command makes a sentence
            reason = (next(iter(str(error).splitlines()), "") or type(error).__name__).rstrip(".")
            raise UserError(f"the MLflow server's answer cannot be used ({reason[:300]}).") from error

    return call


class ServerReader:
    """Reads over HTTP: pages of runs, then the curves that are shown in bulk."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client = open_mlflow(tracking_uri)
        self._found: dict[str, Any] = {}

    @_usable
    def select(self, selection: Selection) -> pd.DataFrame:
        """See `Reader.select`."""
        if not (selection.sweeps or selection.experiments or selection.runs or selection.filter):
            selection = self._newest()
        chosen: dict[str, Any] = {}
        further = f" and {selection.filter}" if selection.filter else ""
        for sweep in selection.sweeps:
            found = list(self._search(f"tags.`lantu.sweep` = '{sweep}'{further}"))
            parent = self.parent_of(sweep)
            if parent and not found:
                found = list(self._search(f"tags.`mlflow.parentRunId` = '{parent}'{further}"))
            if not found:
                raise UserError(f"`sweep={sweep}`: there is no sweep of that name with runs on the server.")
            chosen |= {run.info.run_id: run for run in found}
        for name in selection.experiments:
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                raise unknown("experiment", name, [each.name for each in self._client.search_experiments()])
            found = list(self._search(selection.filter or "", experiments=[experiment.experiment_id]))
            chosen |= {run.info.run_id: run for run in found}
        for each in selection.runs:
            run = self._client.get_run(each)
            chosen[run.info.run_id] = run
        if selection.filter and not (selection.sweeps or selection.experiments or selection.runs):
            chosen = {run.info.run_id: run for run in self._search(selection.filter)}
        parents = {run.data.tags.get("mlflow.parentRunId") for run in chosen.values()}
        self._found = {run_id: run for run_id, run in chosen.items() if run_id not in parents}
        names = {each.experiment_id: each.name for each in self._client.search_experiments()}
        rows = [
            (
                run_id,
                run.info.run_name,
                names.get(run.info.experiment_id, run.info.experiment_id),
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                run.data.tags.get("mlflow.parentRunId"),
                str(run.info.experiment_id),
            )
            for run_id, run in self._found.items()
        ]
        columns = ["run", "name", "experiment", "status", "start", "end", "parent", "experiment_id"]
        return pd.DataFrame(rows, columns=columns).sort_values(["start", "run"]).set_index("run")

    @_usable
    def read(self, info: pd.DataFrame, *, metric: str, mode: str) -> Runs:
        """See `Reader.read`."""
        ids = info.index
        all_params = wide(self._cells(ids, params_of), ids, "object")
        same = [name for name in all_params if all_params[name].notna().all() and all_params[name].nunique() == 1]
        metrics = wide(self._cells(ids, metrics_of), ids, "float64")
        tags = wide([row for row in self._cells(ids, lambda run: run.data.tags) if row[1] in TAGS], ids, "object")
        curves = self._columns_history(list(ids), [metric], points=2000)
        by_run = curves.groupby("run")
        scores = pd.DataFrame({"score": by_run["value"].agg(mode), "step": by_run["step"].max()}, index=ids)
        scores = scores.astype(float).combine_first(further_score(self._further(ids), metric, mode)).reindex(ids)
        return Runs(
            info=info,
            params=all_params.drop(columns=same),
            constants={name: str(all_params[name].iloc[0]) for name in same},
            metrics=metrics.mask(metrics.abs() >= INFINITE),
            score=scores["score"],
            tags=tags,
            steps=scores["step"],
        )

    def metric_names(self, info: pd.DataFrame) -> list[str]:
        """See `Reader.metric_names`."""
        return sorted({key for run_id in info.index for key in metrics_of(self._found[run_id])})

    @_usable
    def history(self, ids: list[str], keys: list[str], *, points: int) -> pd.DataFrame:
        """See `Reader.history`."""
        further = further_points(self._uri, self._further(ids), keys, points=points)
        return self._columns_history(ids, keys, points=points, further=further)

    def _columns_history(
        self, ids: list[str], keys: list[str], *, points: int, further: Iterable[tuple[str, str, int, int, float]] = ()
    ) -> pd.DataFrame:
        rows = [*(row for key in keys for row in self._curves(ids, key, points)), *further]
        frame = pd.DataFrame(rows, columns=["run", "key", "step", "timestamp", "value"])
        frame = frame[np.isfinite(frame["value"].astype(float)) & (frame["value"].abs() < INFINITE)]
        return frame.sort_values(["run", "key", "step", "timestamp"], ignore_index=True)

    @_usable
    def parent_of(self, sweep: str) -> str | None:
        """See `Reader.parent_of`."""
        for run in self._search(f"tags.`lantu.sweep` = '{sweep}'", most=5):
            if "mlflow.parentRunId" in run.data.tags:
                return str(run.data.tags["mlflow.parentRunId"])
        for run in self._search(f"attributes.run_name = '{sweep}'", most=5):
            if next(self._search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'", most=1), None):
                return str(run.info.run_id)
        return None

    @_usable
    def params_of(self, run: str) -> dict[str, str]:
        """See `Reader.params_of`."""
        return params_of(self._client.get_run(run))

    @_usable
    def matching(self, written: str) -> list[str]:
        """The ids of the runs that a filter matches."""
        return [run.info.run_id for run in self._search(written)]

    def _newest(self) -> Selection:
        run = next(self._search("", most=1), None)
        if run is not None and MONITORED in run.data.tags:
            run = next((each for each in self._search("") if MONITORED not in each.data.tags), None)
        if run is None:
            raise UserError("There are no runs on this server yet. Train something first: `lantu train`.")
        sweep = run.data.tags.get("lantu.sweep")
        if sweep:
            return Selection(sweeps=(sweep,))
        return Selection(experiments=(self._client.get_experiment(run.info.experiment_id).name,))

    def _search(self, written: str, *, experiments: list[str] | None = None, most: int | None = None) -> Iterator[Any]:
        from mlflow.exceptions import MlflowException

        where = experiments or [each.experiment_id for each in self._client.search_experiments()]
        token, given = None, 0
        while True:
            try:
                page = self._client.search_runs(where, written, max_results=min(PAGE, most or PAGE), page_token=token)
            except MlflowException as error:
                if error.error_code == FAILED:
                    raise
                raise UserError(f"`filter={written}`: MLflow cannot read it: {str(error).splitlines()[0]}") from error
            for run in page:
                yield run
                given += 1
                if most and given >= most:
                    return
            token = page.token
            if not token:
                return

    def _cells(self, ids: Any, what: Callable[[Any], Mapping[str, Any]]) -> list[tuple[str, str, Any]]:
        return [(run_id, key, value) for run_id in ids for key, value in what(self._found[run_id]).items()]

    def _further(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """By run, the metrics that it keeps beside its columns."""
        found = {run: self._found.get(run) or self._client.get_run(run) for run in ids}
        return {run: kept for run, each in found.items() if (kept := from_tags(each.data.tags, METRICS))}

    def _curves(self, ids: list[str], key: str, points: int) -> Iterator[tuple[str, str, int, int, float]]:
        store = self._client._tracking_client.store
        credentials = getattr(store, "get_host_creds", None)
        if credentials is None:
            for run_id in ids:
                for each in self._client.get_metric_history(run_id, key):
                    yield run_id, key, each.step, each.timestamp, each.value
            return
        from mlflow.utils.rest_utils import http_request, verify_rest_response

        for start in range(0, len(ids), BULK):
            answer = http_request(
                credentials(),
                "/api/2.0/mlflow/metrics/get-history-bulk-interval",
                "GET",
                params={"run_ids": ids[start : start + BULK], "metric_key": key, "max_results": min(points, 2500)},
            )
            for each in verify_rest_response(answer, "get-history-bulk-interval").json().get("metrics", []):
                value = float(each["value"])
                yield each["run_id"], key, int(each.get("step", 0)), int(each["timestamp"]), value
