"""Signatures are read from source files; `inspect` on the imported object is the trusted reference."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from lantu.config.signatures import accepts, signature_of

TARGETS = [
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.lr_scheduler.OneCycleLR",
    "timm.create_model",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.callbacks.EarlyStopping",
    "lantu.tracking.RunLogger",
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_signature_read_from_source_is_that_of_the_imported_object(target: str) -> None:
    module, _, name = target.rpartition(".")
    expected = inspect.signature(getattr(import_module(module), name)).parameters.values()
    read = signature_of(target)
    assert read is not None
    assert set(read.parameters) == {
        each.name for each in expected if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    assert read.takes_any_keyword == any(each.kind == each.VAR_KEYWORD for each in expected)
    assert set(read.required) == {
        each.name
        for each in expected
        if each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }


def test_keywords_handed_on_to_a_base_class_are_its_own() -> None:
    read = signature_of("lantu.tasks.Classification")
    assert read is not None
    assert {"label_smoothing", "l1", "optimizer"} <= set(read.parameters)
    assert not read.takes_any_keyword
    assert read.required == ("net", "classes")


def test_reading_the_trainers_signature_imports_neither_torch_nor_lightning() -> None:
    code = (
        "import sys; from lantu.config.signatures import signature_of;"
        "assert 'precision' in signature_of('pytorch_lightning.Trainer').parameters;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'lightning_fabric')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        ("float", 0.1, True),
        ("float", 1, True),
        ("float", "abc", False),
        ("int", 1.5, False),
        ("int", True, False),
        ("bool", True, True),
        ("bool", 1, False),
        ("float | None", None, True),
        ("float", None, False),
        ("Optional[Union[int, float]]", "x", False),
        ("Literal['a', 'b']", "a", True),
        ("Literal['a', 'b']", "c", False),
        ("list[int]", [1], True),
        ("list[int]", 3, False),
        ("tuple[float, float]", [0.9, 0.99], True),
        ("SomeClass", "anything", True),
        ("float | Tensor", "anything", False),
    ],
)
def test_a_value_is_judged_by_plain_annotations_only(annotation: str, value: object, fits: bool) -> None:
    assert accepts(ast.parse(annotation, mode="eval").body, value) is fits


def test_a_name_that_leads_nowhere_has_no_signature() -> None:
    assert signature_of("torch.optim.NoSuchThing") is None
    assert signature_of("no_such_package.Thing") is None
