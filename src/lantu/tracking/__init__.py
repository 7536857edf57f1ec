"""Record runs durably: a journal on local disk, and a separate process that uploads it to MLflow.

Names are imported on first use, so that the uploader runs without torch or Lightning.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
