"""Packages whose names are imported when they are first used, each listed once.

    if TYPE_CHECKING:
        from lantu.cost.meter import CostMeter as CostMeter

    __getattr__, __all__ = lazy_exports(__name__, __file__)

Type checkers read the block of imports, and `lazy_exports` reads it too. `as` marks a name as exported (PEP 484).
"""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_exports(package: str, file: str) -> tuple[Callable[[str], Any], list[str]]:
    """Return the `__getattr__` and the `__all__` of a package.

    Args:
        package: its `__name__`.
        file: its `__file__`, the source of an `__init__.py`.
    """
    modules = _exported(Path(file).read_text(encoding="utf-8"))

    def get_attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    return get_attribute, sorted(modules)


def _exported(source: str) -> dict[str, str]:
    """The names that a source imports `if TYPE_CHECKING`, each with its module."""
    return {
        alias.name: str(statement.module)
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
