"""The files that a run has in MLflow's artifact store."""

from typing import Any


def artifacts_of(client: Any, run_id: str, folder: str | None = None) -> list[Any]:
    """MLflow's list of the files in one folder of a run's artifacts; empty where the store names no place for them.

    A store that was imported or written by another program can have runs without an artifact address, for which
    MLflow's own call raises a TypeError.

    Args:
        client: MLflow's.
        folder: inside the run's artifacts; None: the uppermost.

    Raises:
        MlflowException: there is no such run.
    """
    if not client.get_run(run_id).info.artifact_uri:
        return []
    return list(client.list_artifacts(run_id, folder))
