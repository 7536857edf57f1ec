"""Lantu (蓝图, "blueprint"): compose, train, track and compare models by cost and quality.

In a notebook:

    import lantu

    result = lantu.run(lantu.compose("data=digits", "model=cnn", "optimizer.lr=3e-3"))
    result.metrics["test/accuracy"], result.module, result.run_id, result.run_dir
"""

import lazy_loader

from lantu.lazy_imports import import_lazily

import_lazily()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
