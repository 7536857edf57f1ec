"""Start sooner: import what a run uses, and do not count it again and again on the way.

Lightning imports torchmetrics, and torchmetrics all of its metrics: those of speech with scipy.signal, those of images
with torchvision, those of texts with transformers. That was a fifth of the way to a run's first step, which every
run, trial and rank goes. Here torchmetrics' packages give their names when somebody asks for them, as Python 3.15's
lazy imports will (PEP 810). What a name stands for does not change, only when it is loaded.
"""

import ast
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

LIBRARY = "torchmetrics"
LATER = "__later__"
"""Where a package keeps what it imports when it is asked: name → (module, its name there)."""


@contextmanager
def gc_paused() -> Iterator[None]:
    """Leave the garbage collector out while modules are imported: it looks at all of them many times and finds nothing.

    A quarter of the time that importing took. It is as it was afterwards.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def import_permanently(name: str) -> ModuleType:
    """Import the module that a process of ours is there for. What exists then is not counted again until the end."""
    if name in sys.modules:  # another job of a warm worker: what exists now may be the last one's, and must go
        return sys.modules[name]
    with gc_paused():
        module = import_module(name)
    gc.freeze()
    return module


def import_metrics_when_used() -> None:
    """Let torchmetrics load a metric when it is first named; where it is imported already, nothing changes."""
    if LIBRARY not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != LIBRARY:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.submodule_search_locations and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Runs a package's `__init__.py` with its imports noted instead of made. Writes no bytecode: others read that."""

    def exec_module(self, module: ModuleType) -> None:
        tree = ast.parse(self.get_data(self.path), self.path)
        at_once = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
        body = [each for each in tree.body if not (self.name == LIBRARY and _mends_scipy(each))]
        tree.body = list(_noted(body, at_once))
        setattr(module, LATER, {})
        module.__class__ = _Package
        exec(compile(ast.fix_missing_locations(tree), self.path, "exec"), module.__dict__)


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        home, there = self.__dict__[LATER].get(name, (self.__name__, name))
        if home != self.__name__:
            value = getattr(import_module(home), there)
        elif there.startswith("__") or find_spec(f"{home}.{there}") is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        else:  # a part of the package that importing all of it would have loaded
            value = import_module(f"{home}.{there}")
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # Python hangs a module into its package when it is loaded; the function `squad` goes before the module `squad`
        if not (isinstance(value, ModuleType) and name in self.__dict__[LATER]):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__[LATER]})


def _noted(body: list[ast.stmt], at_once: set[str]) -> Iterator[ast.stmt]:
    """The statements, with `from torchmetrics.x import y` put off unless the file itself uses `y`."""
    for each in body:
        if isinstance(each, ast.If):
            each.body = list(_noted(each.body, at_once)) or [ast.Pass()]
            each.orelse = list(_noted(each.orelse, at_once))
        elif isinstance(each, ast.ImportFrom) and (each.module or "").partition(".")[0] == LIBRARY:
            names = {alias.asname or alias.name: (each.module, alias.name) for alias in each.names}
            if not names.keys() & {"*", *at_once}:
                yield ast.copy_location(ast.parse(f"{LATER}.update({names!r})").body[0], each)
                continue
        yield each


def _mends_scipy(statement: ast.stmt) -> bool:
    """`if ...: import scipy.signal`, and give it a name that it had: done again where speech is measured."""
    return isinstance(statement, ast.If) and any(
        isinstance(each, ast.Import) and each.names[0].name == "scipy.signal" for each in statement.body
    )
