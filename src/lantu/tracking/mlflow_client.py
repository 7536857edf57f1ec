"""MLflow's client of a store, with limits on what a server may answer."""

import os
from typing import Any
from urllib.parse import urlsplit


def open_mlflow(uri: str) -> Any:
    """MLflow's client of a store; requests to a server have the limits of `bounded_http`.

    Commands that people wait for ask twice more where an answer fails; MLflow's own seven times take minutes.
    """
    if urlsplit(uri).scheme in ("http", "https"):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from lantu.tracking.bounded_http import bound_mlflow

        bound_mlflow()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def same_host(artifact_uri: str, tracking_uri: str) -> bool:
    """Whether files that an MLflow server keeps are fetched from that server, which alone gets its credentials."""
    place, server = urlsplit(artifact_uri), urlsplit(tracking_uri)
    if place.scheme not in ("mlflow-artifacts", "http", "https") or not place.hostname:
        return True
    return place.hostname == server.hostname and (place.port in (None, server.port))
