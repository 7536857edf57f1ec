"""Read what a callable accepts from its source file, without importing it.

Importing torch and Lightning takes seconds; parsing one file takes milliseconds. So a wrong option is named before
anything heavy is loaded. Where the source cannot be read (compiled code, names made at run time) nothing is said.
"""

import ast
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SIMPLE = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None), "NoneType": type(None)}
_ANYTHING = object
_WORDS: dict[object, str] = {
    float: "a number", int: "a whole number", str: "text", bool: "true or false", list: "a list", dict: "a mapping",
    type(None): "null",
}  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """The parameters of a function, or of a class's `__init__`."""

    parameters: dict[str, ast.expr | None]
    """Annotation by name; None where there is none."""
    required: tuple[str, ...]
    takes_any_keyword: bool


@cache
def signature_of(target: str) -> Signature | None:
    """The signature of a dotted name such as `torch.optim.AdamW`; None where the source does not tell."""
    module, _, name = target.rpartition(".")
    found = _find(module, name, hops=6)
    if found is None:
        return None
    tree, node = found
    if isinstance(node, ast.FunctionDef):
        return _signature(node, skip_first=False)
    return _class_signature(tree, node, hops=6)


def accepts(annotation: ast.expr | None, value: object) -> bool:
    """Whether a config value (number, text, list, dict, None) can be meant by an annotation.

    Only plain kinds are judged; whatever else an annotation names is taken to accept anything.
    """
    kinds = _kinds(annotation)
    if _ANYTHING in kinds:
        return True
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return int in kinds or float in kinds or any(value == kind for kind in kinds)
    if isinstance(value, str) and str not in kinds:
        return any(value == kind for kind in kinds)
    return type(value) in kinds or any(value == kind for kind in kinds)


def in_words(annotation: ast.expr | None) -> str:
    """What an annotation accepts, as a user types it: `float | None` is "a number or null"."""
    kinds = _kinds(annotation)
    if _ANYTHING in kinds or not kinds:
        return _spelled(annotation)
    words = [word for kind, word in _WORDS.items() if kind in kinds and not (kind is int and float in kinds)]
    words = [*(str(kind) for kind in kinds if not isinstance(kind, type)), *words]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _spelled(annotation: ast.expr | None) -> str:
    """An annotation as its author wrote it."""
    return ast.unparse(annotation).strip("'\"") if annotation is not None else "anything"


def _kinds(annotation: ast.expr | None) -> set[object]:
    """The plain types, and the literal values, that an annotation names."""
    match annotation:
        case None:
            return {_ANYTHING}
        case ast.Constant(value=None):
            return {type(None)}
        case ast.Constant(value=str(text)):
            return _kinds(ast.parse(text, mode="eval").body)
        case ast.Name(id="Tensor"):
            return set()  # nothing that YAML can write
        case ast.Name(id=name):
            return {_SIMPLE.get(name, {"list": list, "dict": dict, "tuple": list}.get(name, _ANYTHING))}
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return _kinds(left) | _kinds(right)
        case ast.Subscript(value=outer, slice=inner):
            return _generic_kinds(_spelled(outer).rpartition(".")[2], inner)
    return {_ANYTHING}


def _generic_kinds(outer: str, inner: ast.expr) -> set[object]:
    arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer == "Optional":
        return _kinds(inner) | {type(None)}
    if outer == "Union":
        return set().union(*map(_kinds, arguments))
    if outer == "Literal":
        return {each.value for each in arguments if isinstance(each, ast.Constant)}
    if outer.lower() in {"list", "tuple", "sequence", "iterable"}:
        return {list}
    if outer.lower() in {"dict", "mapping"}:
        return {dict}
    return {_ANYTHING}


def _find(module: str, name: str, hops: int) -> tuple[tuple[str, ast.Module], ast.FunctionDef | ast.ClassDef] | None:
    """The definition of `name`, following `from x import name` through packages."""
    path = module_file(module)
    if path is None or not hops:
        return None
    tree = parsed_file(path)
    for node in reversed(_statements(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return (module, tree), node
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(_imported_from(module, path, node), alias.name, hops - 1)
    return None


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """A module's statements at its top, and those inside its `if` (imports for type checkers) and `with` blocks."""
    inside = [each for node in tree.body if isinstance(node, ast.If | ast.With) for each in node.body]
    return [*inside, *tree.body]


def _class_signature(where: tuple[str, ast.Module], node: ast.ClassDef, hops: int) -> Signature | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            own = _signature(item, skip_first=True)
            inherited = _base_signature(where, node, hops) if own and _hands_on(item) else None
            return _merged(own, inherited, item) if own and inherited else own
    if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
        return None
    return _base_signature(where, node, hops)


def _base_signature(where: tuple[str, ast.Module], node: ast.ClassDef, hops: int) -> Signature | None:
    for base in node.bases:
        if isinstance(base, ast.Name) and hops:
            found = _find(where[0], base.id, hops)
            if found is not None and isinstance(found[1], ast.ClassDef) and found[1] is not node:
                return _class_signature(found[0], found[1], hops - 1)
    return None


def _hands_on(init: ast.FunctionDef) -> bool:
    """Whether an `__init__` hands the keywords that it does not name to `super().__init__`."""
    return init.args.kwarg is not None and any(
        ast.unparse(call.func) == "super().__init__"
        and any(word.arg is None and ast.unparse(word.value) == init.args.kwarg.arg for word in call.keywords)
        for call in ast.walk(init)
        if isinstance(call, ast.Call)
    )


def _merged(own: Signature, inherited: Signature, init: ast.FunctionDef) -> Signature:
    """What a class accepts when it hands unnamed keywords to its base, which also gets what it is given by name."""
    calls = [call for call in ast.walk(init) if isinstance(call, ast.Call)]
    to_base = [call for call in calls if ast.unparse(call.func) == "super().__init__"]
    given = {word.arg for call in to_base for word in call.keywords}
    positional = sum(len(call.args) for call in to_base)
    further = {name: kind for name, kind in list(inherited.parameters.items())[positional:] if name not in given}
    return Signature(
        # its own first: a class made from it leaves out as many as it hands on by place
        parameters={**own.parameters, **{name: kind for name, kind in further.items() if name not in own.parameters}},
        required=tuple(dict.fromkeys([*own.required, *(name for name in inherited.required if name in further)])),
        takes_any_keyword=inherited.takes_any_keyword,
    )


def _signature(function: ast.FunctionDef, *, skip_first: bool) -> Signature | None:
    if any("overload" in ast.unparse(each) for each in function.decorator_list):
        return None
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args][1 if skip_first else 0 :]
    with_default = len(arguments.defaults)
    required = [each.arg for each in positional[: len(positional) - with_default]]
    required += [
        each.arg for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default
    ]
    return Signature(
        parameters={each.arg: each.annotation for each in [*positional, *arguments.kwonlyargs]},
        required=tuple(required),
        takes_any_keyword=arguments.kwarg is not None,
    )


def _imported_from(module: str, path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, node.module] if node.module else package)


@cache
def parsed_file(path: Path) -> ast.Module:
    """The syntax tree of a source file; that of a package has the imports of its stub, which are made on first use.

    A package whose `__getattr__` is lazy_loader's `attach_stub` lists what it exports in `__init__.pyi`.
    """
    tree = ast.parse(path.read_bytes())
    stub = path.with_suffix(".pyi")
    if path.name == "__init__.py" and stub.is_file():
        tree.body += [each for each in ast.parse(stub.read_bytes()).body if isinstance(each, ast.ImportFrom)]
    return tree


@cache
def module_file(module: str) -> Path | None:
    """The file of a module, found on disk: only the top-level package's location is asked of Python."""
    top, *rest = module.split(".")
    if top in sys.builtin_module_names or not top:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        return None
    # a package without `__init__.py` has a folder only
    origin = Path(spec.origin) if spec.origin else Path(next(iter(spec.submodule_search_locations or ()))) / "__init__"
    if not rest:
        return origin if origin.suffix == ".py" else None
    file = origin.parent.joinpath(*rest)
    return next((each for each in (file / "__init__.py", file.with_suffix(".py")) if each.is_file()), None)
