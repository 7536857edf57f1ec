"""What depends on the kind of data or problem is asked of the data module or the task, not read from its class."""

import ast
from collections.abc import Iterator
from pathlib import Path

import lantu.data
import lantu.tasks

SRC = Path(__file__).resolve().parents[2] / "src"
ROOMS = ("lantu/data", "lantu/tasks")
"""Where kinds are defined, and so may be told apart."""
BASES = {"DataModule", "Task"}


def questions(tree: ast.AST, kinds: set[str]) -> Iterator[str]:
    """The places of a file that ask for the class of a data module or a task, or for `spec["kind"]`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, classes]):
                asked = {each.id for each in ast.walk(classes) if isinstance(each, ast.Name)}
                if asked & kinds:
                    yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.Subscript(value=value, slice=ast.Constant(value="kind")):
                if ast.unparse(value).endswith("spec"):
                    yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value="kind"), *_]):
                if ast.unparse(value).endswith("spec"):
                    yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_room_but_theirs_asks_for_the_class_of_a_task_or_of_data() -> None:
    modules = {name for name in lantu.data.__all__ if name.endswith("DataModule")}
    kinds = ({*lantu.tasks.__all__, "CalibratedClassifier"} | modules) - BASES
    assert list(questions(ast.parse('isinstance(x, Detection | Task); data.spec.get("kind")'), kinds))  # it can fail
    found = [
        f"{file.relative_to(SRC)}, {question}"
        for file in sorted(SRC.rglob("*.py"))
        if not str(file.relative_to(SRC)).startswith(ROOMS)
        for question in questions(ast.parse(file.read_text(encoding="utf-8")), kinds)
    ]
    assert found == []
