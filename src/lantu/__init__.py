"""Lantu (蓝图, "blueprint"): compose, train, track and compare models by cost and quality.

In a notebook:

    import lantu

    result = lantu.run(lantu.compose("data=digits", "model=cnn", "optimizer.lr=3e-3"))
    result.metrics["test/accuracy"], result.module, result.run_id, result.run_dir
"""

from typing import TYPE_CHECKING

from lantu.lazy_imports import import_lazily
from lantu.package_exports import lazy_exports

if TYPE_CHECKING:
    from lantu.config.composing import Composition as Composition
    from lantu.config.composing import compose as compose
    from lantu.errors import UserError as UserError
    from lantu.training.result import Result as Result
    from lantu.training.run import run as run

import_lazily()

__getattr__, __all__ = lazy_exports(__name__, __file__)
