"""Record runs durably: a journal on local disk, and a separate process that uploads it to MLflow.

Names are imported on first use, so that the uploader runs without torch or Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lantu.redaction import redact
    from lantu.tracking.logger import RunLogger
    from lantu.tracking.names import from_mlflow, to_mlflow
    from lantu.tracking.store import embedded_uri, ensure_store
    from lantu.tracking.uploader import sync_in_background

_HOMES = {
    "RunLogger": "logger",
    "embedded_uri": "store",
    "ensure_store": "store",
    "from_mlflow": "names",
    "redact": "redaction",
    "sync_in_background": "uploader",
    "to_mlflow": "names",
}

__all__ = [
    "RunLogger",
    "embedded_uri",
    "ensure_store",
    "from_mlflow",
    "redact",
    "sync_in_background",
    "to_mlflow",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
