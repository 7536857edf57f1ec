"""Points of metrics that runs keep in a file beside MLflow's columns."""

import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lantu.errors import UserError
from lantu.tracking.artifacts import artifacts_of, download
from lantu.tracking.further import FILE
from lantu.tracking.mlflow_client import open_mlflow

MOST_BYTES = 200_000_000
"""Files beyond this size are left out."""


def further_points(
    tracking_uri: str, further: Mapping[str, Mapping[str, Any]], keys: list[str], *, points: int
) -> list[tuple[str, str, int, int, float]]:
    """(run, key, step, timestamp in ms, value) of metrics that are no columns, from the runs' `metrics.csv`.

    Args:
        further: by run, the metrics that it keeps in its file.
        keys: the metrics that are wanted.
        points: about as many of each are kept, the last one always.
    """
    wanted = {run: [key for key in keys if key in kept] for run, kept in further.items()}
    return [row for run, names in wanted.items() if names for row in _of_run(tracking_uri, run, names, points)]


def _of_run(tracking_uri: str, run: str, names: list[str], points: int) -> Iterator[tuple[str, str, int, int, float]]:
    from mlflow.exceptions import MlflowException

    client = open_mlflow(tracking_uri)
    try:
        there = [each for each in artifacts_of(client, run) if each.path == FILE]
        if not there or (there[0].file_size or 0) > MOST_BYTES:
            return
        with tempfile.TemporaryDirectory() as place:
            frame = pd.read_csv(download(client, run, there[0], place))
    except (MlflowException, UserError, OSError, ValueError):  # a run that has not ended, or a file that is damaged
        return
    for name in names:
        part = frame[frame["metric"] == name]
        stride = max(1, -(-len(part) // points))
        for place in sorted({*range(0, len(part), stride), len(part) - 1} - {-1}):
            row = part.iloc[place]
            yield run, name, int(row["step"]), int(row["time"]), float(row["value"])
