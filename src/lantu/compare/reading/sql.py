"""Read a store that is a database with plain SQL: a hundred times less work than one object per value.

The tables are those of MLflow 2 and 3 (experiments, runs, params, tags, latest_metrics, metrics); nothing is written.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError

from lantu.compare.reading.further_points import further_points
from lantu.compare.reading.run_frames import (
    INFINITE,
    MONITORED,
    TAGS,
    Runs,
    Selection,
    further_score,
    unknown,
    wide,
    with_further,
)
from lantu.errors import UserError
from lantu.redaction import redact
from lantu.tracking.further import METRICS, PARAMS, PREFIX, from_tags
from lantu.tracking.run_folder import lost_database

MANY = 250_000
"""Points of curves beyond which the database is asked to thin them."""


class SqlReader:
    """Reads SQLite and PostgreSQL."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._sqlite = tracking_uri.startswith("sqlite:")
        if self._sqlite and not Path(tracking_uri.removeprefix("sqlite:///")).is_file():
            if (lost := lost_database(Path(tracking_uri.removeprefix("sqlite:///")).parent)) is not None:
                raise UserError(lost)
            raise UserError(
                f"There is no MLflow store at {tracking_uri.removeprefix('sqlite:///')} yet. Train something first "
                "(`lantu train`), or name another with `tracking_uri=...`."
            )
        self._engine = create_engine(tracking_uri if self._sqlite else _with_driver(tracking_uri))

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        """A connection whose errors are sentences: a damaged file, no store of MLflow's, a server that is gone."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except DatabaseError as error:
            reason = str(error.orig).splitlines()[0] if error.orig else type(error).__name__
            again = " `lantu sync --rebuild` makes it again from the runs on this machine." if self._sqlite else ""
            raise UserError(f"{redact(self._uri)} cannot be read as an MLflow store: {reason}.{again}") from error

    def select(self, selection: Selection) -> pd.DataFrame:
        """See `Reader.select`."""
        with self._connect() as connection:
            wanted = self._wanted(connection, selection)
            return self._info(connection, wanted)

    def read(self, info: pd.DataFrame, *, metric: str, mode: str) -> Runs:
        """See `Reader.read`."""
        ids = info.index
        with self._connect() as connection:
            params, constants = self._params(connection, ids)
            latest = self._rows(
                connection,
                f"SELECT run_uuid, key, CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics "
                f"WHERE {self._among()}",
                ids,
            )
            best = self._rows(
                connection,
                f"SELECT run_uuid, {'MIN' if mode == 'min' else 'MAX'}(value), MAX(step) FROM metrics "
                f"WHERE key = :metric AND NOT is_nan AND abs(value) < {INFINITE} AND {self._among()} GROUP BY run_uuid",
                ids,
                metric=metric,
            )
            tags = self._rows(
                connection,
                f"SELECT run_uuid, key, value FROM tags WHERE {self._among()} "
                f"AND key IN ({', '.join(repr(each) for each in TAGS)})",
                ids,
            )
            further = self._further(connection, ids)
        params, constants = with_further(params, constants, further[PARAMS])
        last = [(run, key, value[0]) for run, kept in further[METRICS].items() for key, value in kept.items()]
        metrics = wide([*last, *latest], ids, "float64")
        scores = pd.DataFrame(best, columns=["run", "score", "step"]).set_index("run").reindex(ids).astype(float)
        scores = scores.combine_first(further_score(further[METRICS], metric, mode)).reindex(ids)
        return Runs(
            info=info,
            params=params,
            constants=constants,
            metrics=metrics.mask(metrics.abs() >= INFINITE),
            score=scores["score"],
            tags=wide(tags, ids, "object"),
            steps=scores["step"],
        )

    def metric_names(self, info: pd.DataFrame) -> list[str]:
        """See `Reader.metric_names`."""
        with self._connect() as connection:
            query = f"SELECT DISTINCT key FROM latest_metrics WHERE {self._among()}"
            columns = {row[0] for row in self._rows(connection, query, info.index)}
            further = self._further(connection, info.index)[METRICS]
        return sorted(columns.union(*further.values()))

    def history(self, ids: list[str], keys: list[str], *, points: int) -> pd.DataFrame:
        """See `Reader.history`."""
        if not ids or not keys:
            return pd.DataFrame(columns=["run", "key", "step", "timestamp", "value"])
        named = ", ".join(f":key{place}" for place in range(len(keys)))
        bound = {f"key{place}": key for place, key in enumerate(keys)}
        where = f"key IN ({named}) AND NOT is_nan AND {self._among()}"
        with self._connect() as connection:
            ((count,),) = self._rows(connection, f"SELECT COUNT(*) FROM metrics WHERE {where}", ids, **bound)
            if count <= MANY:
                query = f"SELECT run_uuid, key, step, timestamp, value FROM metrics WHERE {where}"
            else:
                query = f"""
                    SELECT run_uuid, key, step, timestamp, value FROM (
                        SELECT run_uuid, key, step, timestamp, value,
                               ROW_NUMBER() OVER (PARTITION BY run_uuid, key ORDER BY step) - 1 AS place,
                               COUNT(*) OVER (PARTITION BY run_uuid, key) AS number
                        FROM metrics WHERE {where}) AS numbered
                    WHERE place = number - 1 OR place % ((number + {points - 1}) / {points}) = 0"""
            rows = self._rows(connection, query, ids, **bound)
            further = self._further(connection, ids)[METRICS]
        rows += further_points(self._uri, further, keys, points=points)
        frame = pd.DataFrame(rows, columns=["run", "key", "step", "timestamp", "value"])
        frame = frame[frame["value"].abs() < INFINITE]
        return frame.sort_values(["run", "key", "step", "timestamp"], ignore_index=True)

    def parent_of(self, sweep: str) -> str | None:
        """See `Reader.parent_of`."""
        query = """
            SELECT p.value FROM tags s JOIN tags p ON p.run_uuid = s.run_uuid AND p.key = 'mlflow.parentRunId'
            WHERE s.key = 'lantu.sweep' AND s.value = :sweep
            UNION SELECT p.value FROM runs r JOIN tags p ON p.value = r.run_uuid AND p.key = 'mlflow.parentRunId'
            WHERE r.name = :sweep OR r.run_uuid = :sweep LIMIT 1"""
        with self._connect() as connection:
            found = connection.execute(text(query), {"sweep": sweep}).fetchone()
        return str(found[0]) if found else None

    def params_of(self, run: str) -> dict[str, str]:
        """See `Reader.params_of`."""
        with self._connect() as connection:
            found = connection.execute(text("SELECT key, value FROM params WHERE run_uuid = :run"), {"run": run})
            columns = {str(key): str(value) for key, value in found}
            return {**self._further(connection, [run])[PARAMS].get(run, {}), **columns}

    def _wanted(self, connection: Connection, selection: Selection) -> list[str] | None:
        """The run ids that are meant; None: every run."""
        if not (selection.sweeps or selection.experiments or selection.runs or selection.filter):
            selection = self._newest(connection)
        ids: dict[str, None] = {}
        for sweep in selection.sweeps:
            found = self._of_sweep(connection, sweep)
            if not found:
                known = [row[0] for row in connection.execute(text(_SWEEPS))]
                raise unknown("sweep", sweep, known)
            ids.update(dict.fromkeys(found))
        for experiment in selection.experiments:
            query = (
                "SELECT r.run_uuid FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
                "WHERE e.name = :name AND r.lifecycle_stage = 'active'"
            )
            found = [row[0] for row in connection.execute(text(query), {"name": experiment})]
            if not found:
                names = connection.execute(text("SELECT name FROM experiments WHERE lifecycle_stage = 'active'"))
                raise unknown("experiment", experiment, [row[0] for row in names])
            ids.update(dict.fromkeys(found))
        for run in selection.runs:
            query = (
                "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' AND (run_uuid LIKE :start OR name = :run)"
            )
            found = [row[0] for row in connection.execute(text(query), {"start": f"{run}%", "run": run})]
            if len(found) != 1:
                how = f"{len(found)} runs begin so or are called so" if found else "there is no such run"
                raise UserError(
                    f"`runs=[{run}]`: {how}; give run ids, or as many of their first letters as make them unique."
                )
            ids[found[0]] = None
        if selection.filter:
            named = bool(selection.sweeps or selection.experiments or selection.runs)
            matching = self._filtered(selection.filter)
            ids = {each: None for each in matching if each in ids} if named else dict.fromkeys(matching)
        return list(ids)

    def _filtered(self, written: str) -> list[str]:
        """MLflow reads its own filter language."""
        from lantu.compare.reading.server import ServerReader

        return ServerReader(self._uri).matching(written)

    def _of_sweep(self, connection: Connection, sweep: str) -> list[str]:
        query = """
            SELECT run_uuid FROM tags WHERE key = 'lantu.sweep' AND value = :sweep
            UNION SELECT t.run_uuid FROM tags t JOIN runs r ON r.run_uuid = t.value
            WHERE t.key = 'mlflow.parentRunId' AND (r.name = :sweep OR r.run_uuid = :sweep)"""
        return [row[0] for row in connection.execute(text(query), {"sweep": sweep})]

    def _newest(self, connection: Connection) -> Selection:
        query = """
            SELECT s.value, e.name FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
            LEFT JOIN tags s ON s.run_uuid = r.run_uuid AND s.key = 'lantu.sweep'
            WHERE r.lifecycle_stage = 'active'
            AND r.run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = :monitored)
            ORDER BY r.start_time DESC LIMIT 1"""
        found = connection.execute(text(query), {"monitored": MONITORED}).fetchone()
        if found is None:
            raise UserError("There are no runs in this store yet. Train something first: `lantu train`.")
        return Selection(sweeps=(found[0],)) if found[0] else Selection(experiments=(found[1],))

    def _info(self, connection: Connection, wanted: list[str] | None) -> pd.DataFrame:
        query = f"""
            SELECT r.run_uuid, r.name, e.name, r.status, r.start_time, r.end_time, p.value, r.experiment_id
            FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
            LEFT JOIN tags p ON p.run_uuid = r.run_uuid AND p.key = 'mlflow.parentRunId'
            WHERE r.lifecycle_stage = 'active' AND {self._among("r.run_uuid")}
            AND r.run_uuid NOT IN (SELECT value FROM tags WHERE key = 'mlflow.parentRunId' AND value IS NOT NULL)
            ORDER BY r.start_time, r.run_uuid"""
        rows = self._rows(connection, query, wanted or [])
        columns = ["run", "name", "experiment", "status", "start", "end", "parent", "experiment_id"]
        found = pd.DataFrame(rows, columns=columns).set_index("run")
        return found.assign(experiment_id=found["experiment_id"].astype(str))

    def _params(self, connection: Connection, ids: Any) -> tuple[pd.DataFrame, dict[str, str]]:
        """Only what varies leaves the database: most parameters of a sweep are the same in every run."""
        summary = self._rows(
            connection,
            f"SELECT key, MIN(value), MAX(value), COUNT(*) FROM params WHERE {self._among()} GROUP BY key",
            ids,
        )
        constants = {key: low for key, low, high, number in summary if low == high and number == len(ids)}
        varying = [row[0] for row in summary if row[0] not in constants]
        named = ", ".join(f":key{place}" for place in range(len(varying)))
        rows = []
        if varying:
            query = f"SELECT run_uuid, key, value FROM params WHERE key IN ({named}) AND {self._among()}"
            rows = self._rows(connection, query, ids, **{f"key{place}": key for place, key in enumerate(varying)})
        return wide(rows, ids, "object"), constants

    def _further(self, connection: Connection, ids: Any) -> dict[str, dict[str, Any]]:
        """What the runs keep beside their columns, by kind and run."""
        query = f"SELECT run_uuid, key, value FROM tags WHERE key LIKE '{PREFIX}%' AND {self._among()}"
        tags: dict[str, dict[str, str]] = {}
        for run, key, value in self._rows(connection, query, ids):
            tags.setdefault(str(run), {})[key] = value
        kinds = {kind: {run: from_tags(kept, kind) for run, kept in tags.items()} for kind in (PARAMS, METRICS)}
        return {kind: {run: kept for run, kept in found.items() if kept} for kind, found in kinds.items()}

    def _among(self, column: str = "run_uuid") -> str:
        """A condition on run ids that takes any number of them as one bound value."""
        if self._sqlite:
            return f"{column} IN (SELECT value FROM json_each(:ids))"
        return f"{column} = ANY(:ids)"

    def _rows(self, connection: Connection, query: str, ids: Any, **bound: Any) -> list[Any]:
        listed = [str(each) for each in ids]
        result = connection.execute(text(query), {"ids": json.dumps(listed) if self._sqlite else listed, **bound})
        return list(result.cursor.fetchall()) if result.cursor is not None else []


def _with_driver(uri: str) -> str:
    """The URI with a PostgreSQL driver that is installed; SQLAlchemy's own choice changed with its version 2.1."""
    scheme, colon, rest = uri.partition(":")
    if "+" in scheme:
        return uri
    for driver in ("psycopg", "psycopg2"):
        if find_spec(driver):
            return f"postgresql+{driver}{colon}{rest}"
    raise UserError("Reading PostgreSQL needs a driver: `pip install psycopg2-binary`.")


_SWEEPS = """
    SELECT DISTINCT value FROM tags WHERE key = 'lantu.sweep'
    UNION SELECT r.name FROM runs r JOIN tags t ON t.value = r.run_uuid AND t.key = 'mlflow.parentRunId'"""
