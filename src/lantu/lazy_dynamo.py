"""Import torch's compiler when something is compiled, not at every start.

`torch._dynamo` takes 1.8 of the 6.5 processor seconds that importing torch and Lightning took. Lightning imports it
for an `isinstance` check, torch.optim for `graph_break()` and `disable()`, which do nothing while nothing is
compiled, and torchvision for a function that its RoIAlign calls. Those are answered here; any other use, and
`torch.compile` first of all, loads the real module into the same module object.
"""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any

DYNAMO = "torch._dynamo"
UTILS = f"{DYNAMO}.utils"
TESTED = ((2, 8), (2, 15))
"""The versions of torch whose compiler is loaded lazily: from the first to before the second."""
STAND_INS = ("graph_break", "disable", "OptimizedModule")


def import_dynamo_when_used() -> None:
    """Put the import of `torch._dynamo` off; where it is imported already, nothing changes."""
    if DYNAMO not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def is_loaded() -> bool:
    """Whether the real `torch._dynamo` has been imported."""
    return DYNAMO in sys.modules and not isinstance(sys.modules[DYNAMO], _Unloaded)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == DYNAMO and TESTED[0] <= _version() < TESTED[1]:
            spec = PathFinder.find_spec(fullname, path, target)
            if spec and spec.loader:
                spec.loader = _PutOff(spec.loader)
            return spec
        if fullname == UTILS and isinstance(sys.modules[DYNAMO], _Unloaded):
            return ModuleSpec(fullname, _UtilsPutOff())
        if fullname.startswith(f"{DYNAMO}.") and isinstance(sys.modules[DYNAMO], _Unloaded):
            _load(sys.modules[DYNAMO])
            if module := sys.modules.get(fullname):  # loading the package has imported this part of it
                return ModuleSpec(fullname, _Present(module), origin=module.__file__)
        return None


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in str(sys.modules["torch"].__version__).split(".")[:2])


class _PutOff(Loader):
    """Makes a module with the stand-ins, which the loader of the real one fills when it is needed."""

    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Unloaded(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(graph_break=_graph_break, disable=_disable, OptimizedModule=_OptimizedModule)


class _Present(Loader):
    """Gives a module that exists, as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class _Unloaded(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        _load(self)
        return getattr(self, name)


class _UtilsPutOff(Loader):
    """Makes the stand-in of `torch._dynamo.utils`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _UnloadedUtils(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["is_compile_supported"] = _is_compile_supported


class _UnloadedUtils(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(_utils(), name)


def _is_compile_supported(device_type: Any) -> Any:
    """What torchvision imports by name: the real function answers when it is called."""
    return _utils().is_compile_supported(device_type)


def _utils() -> ModuleType:
    """The real `torch._dynamo.utils`."""
    if isinstance(dynamo := sys.modules[DYNAMO], _Unloaded):
        _load(dynamo)
    return sys.modules[UTILS]


_not_disabled: list[Any] = []
"""Functions that torch has asked to exclude from compilation and that keep the answer."""


def _load(module: ModuleType) -> None:
    """Import the real module and copy its names into this one."""
    module.__class__ = ModuleType
    for name in STAND_INS:
        delattr(module, name)
    if sys.modules.pop(UTILS, None):
        module.__dict__.pop("utils", None)
    for function in _not_disabled:  # torch asks again, and the real module answers
        function.__dict__.pop("__dynamo_disable", None)
    _not_disabled.clear()
    spec = module.__spec__
    assert spec is not None
    assert isinstance(spec.loader, _PutOff)
    spec.loader = module.__loader__ = spec.loader.real
    spec.loader.exec_module(module)


def _graph_break(msg: str = "") -> None:
    """Ends a graph that is being compiled: there is none."""


def _disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
    """Exclude a function from compilation, once there is a compiler to exclude it from."""
    module = sys.modules[DYNAMO]
    if not isinstance(fn, FunctionType):
        _load(module)
        return module.disable(fn, recursive, **options)
    if options == {"wrapping": False}:  # as torch itself asks, which keeps the answer on the function
        _not_disabled.append(fn)
        return fn
    disabled: Callable[..., Any] | None = None

    @wraps(fn)
    def call(*args: Any, **keywords: Any) -> Any:
        nonlocal disabled
        if disabled is None and is_loaded():
            disabled = module.disable(fn, recursive, **options)
        return (disabled or fn)(*args, **keywords)

    return call


class _CompiledInstances(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return is_loaded() and isinstance(instance, sys.modules[DYNAMO].OptimizedModule)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return is_loaded() and issubclass(subclass, sys.modules[DYNAMO].OptimizedModule)


class _OptimizedModule(metaclass=_CompiledInstances):
    """What `torch.compile(module)` returns, for `isinstance`: there is none before the compiler is loaded."""
