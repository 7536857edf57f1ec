"""A `_target_` that leads nowhere is told from one that leads somewhere without importing it."""

import sys
from pathlib import Path

import pytest

import lantu
from lantu.config.checking import check
from lantu.config.missing_targets import missing
from lantu.config.signatures import signature_of

LAZY = ["assigned.Anything", "listed.Wide", "listed.other.Wide"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine_for_targets"
    folder.mkdir()
    (folder / "__init__.py").write_text("from mine_for_targets.nets import Small\n")
    (folder / "nets.py").write_text(
        "import sys\n\nclass Small: ...\n\nclass Large: ...\n\nif sys.argv:\n    Alias = Small\n"
    )
    (folder / "made.py").write_text("globals()['Late'] = int\n")
    (folder / "lazy.py").write_text("def __getattr__(name):\n    return int\n")
    (folder / "assigned.py").write_text("__getattr__, __all__ = make(__name__, {})\n")
    (folder / "listed").mkdir()
    (folder / "listed" / "__init__.py").write_text(
        "import lazy_loader\n\n__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)\nx = 1\n"
    )
    (folder / "listed" / "__init__.pyi").write_text("from .other import Wide as Wide\n")
    (folder / "listed" / "other.py").write_text("class Wide:\n    def __init__(self, width: int): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.mark.parametrize("name", ["Small", "nets.Small", "nets.Alias", "made.Late", "lazy.Anything", "nets", *LAZY])
def test_a_name_that_is_there_or_may_be_made_at_run_time_passes(package: Path, name: str) -> None:
    assert missing(f"mine_for_targets.{name}") is None
    assert "mine_for_targets" not in sys.modules


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nets.Smal", "does not define `Smal`. Did you mean `mine_for_targets.nets.Small`"),
        ("Large", "`mine_for_targets.nets.Large` does: name that, or export it"),
        ("nets.Unlike", "It has Alias, Large, Small, sys"),
        ("listed.Wid", "does not define `Wid`. Did you mean `mine_for_targets.listed.Wide`"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_what_is(package: Path, name: str, said: str) -> None:
    assert said in str(missing(f"mine_for_targets.{name}"))


def test_the_options_of_a_class_that_only_a_stub_exports_are_known(package: Path) -> None:
    signature = signature_of("mine_for_targets.listed.Wide")
    assert signature is not None
    assert signature.required == ("width",)


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "timm.create_model",
        "torchmetrics.CohenKappa",
        "lantu.training.BestCheckpoints",
        "math.sqrt",
    ],
)
def test_libraries_compiled_and_built_in_modules_pass(target: str) -> None:
    assert missing(target) is None


def test_a_run_with_a_misspelt_class_is_refused_before_anything_is_built() -> None:
    composition = lantu.compose("model._target_=lantu.models.CNNN")
    with pytest.raises(
        lantu.UserError, match=r"`model\._target_=lantu\.models\.CNNN`.*Did you mean `lantu\.models\.CNN`"
    ):
        check(composition)
    with pytest.raises(lantu.UserError, match=r"there is no package `nowhere_at_all`.*working directory"):
        check(lantu.compose("model._target_=nowhere_at_all.Net"))
