"""MLflow's client of a store, with limits on what a server may answer."""

import os
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

FAILED = "INTERNAL_ERROR"
"""The code of an MlflowException where the store, and not what was asked, is at fault."""


def open_mlflow(uri: str) -> Any:
    """MLflow's client of a store; requests to a server have the limits of `bounded_http`.

    Commands that people wait for ask twice more where an answer fails; MLflow's own seven times take minutes.
    """
    if urlsplit(uri).scheme in ("http", "https"):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from lantu.tracking.bounded_http import bound_mlflow

        bound_mlflow()
        # in parts, a file is fetched from whatever address the server names
        os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return _ServerClient(client) if urlsplit(uri).scheme in ("http", "https") else client


class _ServerClient:
    """MLflow's client of a server, whose methods raise an MlflowException for an answer that is not of MLflow's form.

    MLflow itself raises a ParseError, TypeError, KeyError and others, such as for a time that is text.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return _said(found) if callable(found) and not name.startswith("_") else found


def _said(method: Any) -> Any:
    @wraps(method)
    def call(*given: Any, **options: Any) -> Any:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            return method(*given, **options)
        except (MlflowException, OSError, RequestException):
            raise
        except Exception as error:
            reason = (next(iter(str(error).splitlines()), "") or type(error).__name__).rstrip(".")
            raise MlflowException(f"the server's answer is not of MLflow's form ({reason[:300]})") from error

    return call


def same_host(artifact_uri: str, tracking_uri: str) -> bool:
    """Whether files that an MLflow server keeps are fetched from that server, which alone gets its credentials."""
    place, server = urlsplit(artifact_uri), urlsplit(tracking_uri)
    if place.scheme not in ("mlflow-artifacts", "http", "https") or not place.hostname:
        return True
    return place.hostname == server.hostname and (place.port in (None, server.port))
