"""Find out, without importing anything, that a `_target_` leads nowhere, and say what its module has instead."""

import ast
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path

from lantu.config.signatures import module_file, parsed_file
from lantu.suggestions import near_misses


def missing(target: str) -> str | None:
    """Why a dotted name leads nowhere, as a sentence; None where it leads somewhere, or that cannot be told.

    Nothing is said of compiled modules and of those that make their names at run time (`__getattr__`, `import *`).
    """
    parts = target.split(".")
    if len(parts) < 2 or any(not part.isidentifier() for part in parts):
        return f"`{target}` is no dotted name of a class or function, such as `torch.optim.AdamW`."
    top = parts[0]
    if not _is_importable(top):
        return (
            f"there is no package `{top}`: neither installed nor in the working directory {Path.cwd()}. Run the "
            f"command in the folder that holds `{top}/`, or install it."
        )
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        file = module_file(module)
        if file is not None:
            return _not_in(file, module, parts[length])
    return None


def _not_in(file: Path, module: str, name: str) -> str | None:
    names = _names_of(parsed_file(file))
    if names is None or name in names or _is_submodule(file, name):
        return None
    public = sorted(each for each in names if not each.startswith("_"))
    elsewhere = _defined_below(file, module, name)
    near = near_misses(name, public)
    if elsewhere:
        hint = f"`{elsewhere}` does: name that, or export it with `from {elsewhere.rpartition('.')[0]} import {name}`."
    elif near:
        hint = f"Did you mean {' or '.join(f'`{module}.{each}`' for each in near)}?"
    else:
        hint = f"It has {', '.join(public[:10]) or 'no names'}{', ...' if len(public) > 10 else '.'}"
    return f"`{module}` ({_short(file)}) does not define `{name}`. {hint}"


@lru_cache(maxsize=256)  # of trees that `parsed_file` keeps: a sweep checks the same modules for every trial
def _names_of(tree: ast.Module) -> set[str] | None:
    """The names that a module has once imported; None where they are made at run time."""
    names = {"__name__", "__file__", "__doc__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            file = module_file(node.module) if node.module and not node.level else None
            starred = _names_of(parsed_file(file)) if file is not None else None
            if starred is None:
                return None
            names |= starred
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("globals", "setattr", "exec", "vars"):
            return None
    statements = list(tree.body)
    while statements:
        node = statements.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == "__getattr__":
                return None
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.With | ast.Delete):
            assigned = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if "__getattr__" in assigned and "attach_stub" not in ast.unparse(node):
                return None
            names |= assigned
        for field in ("body", "orelse", "finalbody", "handlers"):
            inner = getattr(node, field, [])
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and isinstance(inner, list):
                statements += inner
    return names


def _is_submodule(file: Path, name: str) -> bool:
    """Whether a package has a module of that name, in source, compiled, or as a folder without `__init__.py`."""
    if file.name != "__init__.py":
        return False
    return (file.parent / name).is_dir() or any(file.parent.glob(f"{name}.*"))


def _defined_below(file: Path, module: str, name: str) -> str | None:
    """The dotted name of a class or function that a direct submodule of a package defines."""
    if file.name != "__init__.py":
        return None
    for other in sorted(file.parent.glob("*.py")):
        tree = parsed_file(other)
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name for node in tree.body):
            return f"{module}.{other.stem}.{name}"
    return None


def _is_importable(top: str) -> bool:
    if top in sys.modules or top in sys.builtin_module_names:
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _short(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
