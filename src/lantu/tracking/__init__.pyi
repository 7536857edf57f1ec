from .logger import RunLogger as RunLogger
from .names import from_mlflow as from_mlflow
from .names import to_mlflow as to_mlflow
from .recorder import RunRecorder as RunRecorder
from .store import embedded_uri as embedded_uri
from .store import ensure_store as ensure_store
from .uploader import sync_in_background as sync_in_background
