"""Record runs durably: a journal on local disk, and a separate process that uploads it to MLflow.

Names are imported on first use, so that the uploader runs without torch or Lightning.
"""

from typing import TYPE_CHECKING

from lantu.package_exports import lazy_exports

if TYPE_CHECKING:
    from lantu.redaction import redact as redact
    from lantu.tracking.logger import RunLogger as RunLogger
    from lantu.tracking.names import from_mlflow as from_mlflow
    from lantu.tracking.names import to_mlflow as to_mlflow
    from lantu.tracking.store import embedded_uri as embedded_uri
    from lantu.tracking.store import ensure_store as ensure_store
    from lantu.tracking.uploader import sync_in_background as sync_in_background

__getattr__, __all__ = lazy_exports(__name__, __file__)
