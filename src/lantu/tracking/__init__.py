"""Record runs durably: a journal on local disk, and a separate process that uploads it to MLflow.

Names are imported on first use, so that the uploader runs without torch or Lightning.
"""

from typing import TYPE_CHECKING

from lantu.lazy_imports import attribute_importer

if TYPE_CHECKING:
    from lantu.redaction import redact
    from lantu.tracking.logger import RunLogger
    from lantu.tracking.names import from_mlflow, to_mlflow
    from lantu.tracking.store import embedded_uri, ensure_store
    from lantu.tracking.uploader import sync_in_background

_HOMES = {
    "RunLogger": "lantu.tracking.logger",
    "embedded_uri": "lantu.tracking.store",
    "ensure_store": "lantu.tracking.store",
    "from_mlflow": "lantu.tracking.names",
    "redact": "lantu.redaction",
    "sync_in_background": "lantu.tracking.uploader",
    "to_mlflow": "lantu.tracking.names",
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

__getattr__ = attribute_importer(__name__, _HOMES)
