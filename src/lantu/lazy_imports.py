"""Start sooner: defer imports that a run may never use.

`import lantu.training` takes 4.1 processor seconds instead of 8.6; `import torch` alone takes 2.5 (medians of three on
two cores, torch 2.14, Lightning 2.6; the parts below are partly estimated):

- torchmetrics imports all of its metrics: those of speech with scipy.signal, those of images with torchvision, those
  of texts with transformers. Its packages give a name when it is first asked for, as Python 3.15's lazy imports will
  (PEP 810): 2.2 s less.
- timm imports all of its models for the sake of one optimizer: 2.8 s less with `optimizer=muon` and `lion`.
- torchmetrics imports matplotlib to name two types in annotations: 0.5 s less.
- torch's compiler, `torch._dynamo`, is imported by Lightning: 1.8 s less (lazy_dynamo.py).
- Pausing the garbage collector while importing: 3 to 4%.

What a name stands for does not change, only when it is loaded. Other versions than the tested ones are imported as
usual, and `LANTU_LAZY_IMPORTS=0` switches all of this off.
"""

import ast
import gc
import os
import sys
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, resolve_name
from types import ModuleType
from typing import Any

from lantu.lazy_dynamo import import_dynamo_when_used

TESTED = {"torchmetrics": ((1, 8), (1, 10)), "timm": ((1, 0), (1, 1))}
"""The versions of the libraries that are loaded lazily: from the first to before the second."""
NOT_ALL = {"timm": ("timm", "timm.optim")}
"""The packages of a library that are loaded lazily where others must be imported whole: timm registers its models."""
LATER = "__later__"
"""Where a package keeps what it imports when it is asked: name → (module, its name there)."""
PLOT = "torchmetrics.utilities.plot"
SWITCH = "LANTU_LAZY_IMPORTS"


def import_lazily() -> None:
    """Defer what can be deferred, unless it is switched off; modules that are already imported stay unchanged."""
    if os.environ.get(SWITCH, "1").lower() in ("0", "false", "no"):
        return
    import_dynamo_when_used()
    new = TESTED.keys() - sys.modules.keys()
    if new and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder(new))


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector while modules are imported, which saves 3 to 4% of their time.

    It would traverse all modules again and again and find nothing to free. It is as it was afterwards.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def import_permanently(name: str) -> ModuleType:
    """Import the module that this process runs, and exclude what exists then from later garbage collections."""
    if name in sys.modules:  # another job of a warm worker: what exists now may belong to the last job
        return sys.modules[name]
    with gc_paused():
        module = import_module(name)
    gc.freeze()
    return module


@cache
def _is_tested(library: str) -> bool:
    from importlib.metadata import version

    major, minor = (int(part) for part in version(library).split(".")[:2])
    first, end = TESTED[library]
    return first <= (major, minor) < end


class _Finder(MetaPathFinder):
    def __init__(self, libraries: Set[str]) -> None:
        self._libraries = libraries

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        library = fullname.partition(".")[0]
        if library not in self._libraries or fullname not in NOT_ALL.get(library, (fullname,)):
            return None
        if not _is_tested(library):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader and fullname == PLOT:
            spec.loader = _PlotLoader(spec.loader)
        elif spec and spec.submodule_search_locations and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Runs a package's `__init__.py` with its imports noted instead of made. Writes no bytecode: others read that."""

    def exec_module(self, module: ModuleType) -> None:
        tree = ast.parse(self.get_data(self.path), self.path)
        at_once = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
        body = [each for each in tree.body if not (self.name == "torchmetrics" and _mends_scipy(each))]
        tree.body = list(_noted(body, at_once, package=self.name))
        setattr(module, LATER, {})
        module.__class__ = _Package
        exec(compile(ast.fix_missing_locations(tree), self.path, "exec"), module.__dict__)


class _PlotLoader(Loader):
    """Puts off the module that imports matplotlib: to a name of it that is no function or type for annotations."""

    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Plot(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        assert isinstance(module, _Plot)
        # what torchmetrics says without matplotlib
        module.__dict__["_AX_TYPE"] = module.__dict__["_CMAP_TYPE"] = object
        module.__dict__["_PLOT_OUT_TYPE"] = tuple[object, object]
        for name in ("plot_confusion_matrix", "plot_curve", "plot_single_or_multi_val"):
            module.__dict__[name] = _deferred(module, name)


class _Plot(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        assert spec is not None
        assert isinstance(spec.loader, _PlotLoader)
        spec.loader = self.__loader__ = spec.loader.real
        spec.loader.exec_module(self)
        return getattr(self, name)


def _deferred(module: ModuleType, name: str) -> Any:
    """A function of the module, which is loaded when the function is first called."""

    def call(*args: Any, **options: Any) -> Any:
        if isinstance(module, _Plot):
            module._style  # noqa: B018 - loads the module
        return getattr(module, name)(*args, **options)

    call.__name__ = call.__qualname__ = name
    call.__module__ = module.__name__
    return call


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


def _noted(body: list[ast.stmt], at_once: set[str], *, package: str) -> Iterator[ast.stmt]:
    """Yield the statements, with `from torchmetrics.x import y` deferred unless the file itself uses `y`."""
    library = package.partition(".")[0]
    for each in body:
        if isinstance(each, ast.If):
            each.body = list(_noted(each.body, at_once, package=package)) or [ast.Pass()]
            each.orelse = list(_noted(each.orelse, at_once, package=package))
        elif isinstance(each, ast.ImportFrom) and (home := _home(each, package)).partition(".")[0] == library:
            names = {alias.asname or alias.name: (home, alias.name) for alias in each.names}
            if not names.keys() & {"*", *at_once}:
                yield ast.copy_location(ast.parse(f"{LATER}.update({names!r})").body[0], each)
                continue
        yield each


def _home(statement: ast.ImportFrom, package: str) -> str:
    """The full name of the module that is imported from."""
    return resolve_name("." * statement.level + (statement.module or ""), package)


def _mends_scipy(statement: ast.stmt) -> bool:
    """`if ...: import scipy.signal`, and give it a name that it had: done again where speech is measured."""
    return isinstance(statement, ast.If) and any(
        isinstance(each, ast.Import) and each.names[0].name == "scipy.signal" for each in statement.body
    )
