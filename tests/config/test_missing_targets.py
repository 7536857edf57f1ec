"""A `_target_` that leads nowhere is told from one that leads somewhere without importing it."""

import sys
from pathlib import Path

import pytest

import lantu
from lantu.config.checking import check
from lantu.config.missing_targets import missing


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
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.mark.parametrize("name", ["Small", "nets.Small", "nets.Alias", "made.Late", "lazy.Anything", "nets"])
def test_a_name_that_is_there_or_may_be_made_at_run_time_passes(package: Path, name: str) -> None:
    assert missing(f"mine_for_targets.{name}") is None
    assert "mine_for_targets" not in sys.modules


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nets.Smal", "does not define `Smal`. Did you mean `mine_for_targets.nets.Small`"),
        ("Large", "`mine_for_targets.nets.Large` does: name that, or export it"),
        ("nets.Unlike", "It has Alias, Large, Small, sys"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_what_is(package: Path, name: str, said: str) -> None:
    assert said in str(missing(f"mine_for_targets.{name}"))


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
