"""Lantu (蓝图, "blueprint"): compose, train, track and compare models by cost and quality.

In a notebook:

    import lantu

    result = lantu.run(lantu.compose("data=digits", "model=cnn", "optimizer.lr=3e-3"))
    result.metrics["test/accuracy"], result.module, result.run_id, result.run_dir
"""

from typing import TYPE_CHECKING

from lantu.lazy_imports import attribute_importer, import_lazily

if TYPE_CHECKING:
    from lantu.config.composing import Composition, compose
    from lantu.errors import UserError
    from lantu.training.run import Result, run

__all__ = ["Composition", "Result", "UserError", "compose", "run"]

_HOMES = {
    "Composition": "lantu.config.composing",
    "compose": "lantu.config.composing",
    "UserError": "lantu.errors",
    "Result": "lantu.training.run",
    "run": "lantu.training.run",
}

import_lazily()

__getattr__ = attribute_importer(__name__, _HOMES)
