"""A program that `torch.export` saved is loaded, and one that would run code of its file is refused."""

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from lantu.errors import UserError
from lantu.inference.exported_program import load_program


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("executed",)


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.relu()) + x.shape[0] // 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.pt2"
    sizes = {0: torch.export.Dim("rows", min=1, max=64)}
    torch.export.save(torch.export.export(_Net().eval(), (torch.zeros(2, 4),), dynamic_shapes=(sizes,)), path)
    return path


def _changed(saved: Path, folder: Path, member: str, old: bytes, new: bytes) -> Path:
    """A copy in which a member's bytes are replaced; all of them where `old` is empty."""
    with zipfile.ZipFile(saved) as given, zipfile.ZipFile(folder / "bad.pt2", "w") as made:
        for each in given.namelist():
            content = given.read(each)
            if each.endswith(member):
                assert old in content
                content = content.replace(old, new) if old else new
            made.writestr(each, content)
    return folder / "bad.pt2"


def test_a_networks_program_is_loaded(saved: Path) -> None:
    assert load_program(saved)(torch.zeros(6, 4)).shape == (6, 2)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"torch.ops.aten.relu.default", b"torch.os.mkdir"),
        (b"torch.ops.aten.relu.default", b"torch.ops.aten.from_file"),
        (b"_operator.floordiv", b"_operator.attrgetter"),
        (b"Symbol('", b"__import__('os').mkdir('"),
        (b'"guards_code": []', b"\"guards_code\": [\"__import__('os').mkdir('x')\"]"),
        (b'"guards_code": []', b'"guards_code": ["L[\'x\'].__class__"]'),
    ],
)
def test_a_program_that_calls_other_functions_is_refused(
    old: bytes, new: bytes, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no part of a network"):
        load_program(_changed(saved, tmp_path, "models/model.json", old, new))
    assert [each.name for each in tmp_path.iterdir()] == ["bad.pt2"]


@pytest.mark.parametrize("name", ["m/data/aotinductor/model/x.so", "m/MODELS/MODEL.JSON", "m/models/model.JSON"])
def test_a_library_or_a_second_description_is_refused(name: str, saved: Path, tmp_path: Path) -> None:
    path = _changed(saved, tmp_path, "no such", b"", b"")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(UserError, match="which is no part of a network"):
        load_program(path)


def test_a_pickle_within_a_program_is_not_run(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = io.BytesIO()
    torch.save(_Runs(), pickled)
    with pytest.raises(Exception, match="Weights only load failed"):
        load_program(_changed(saved, tmp_path, "sample_inputs/model.pt", b"", pickled.getvalue()))
    assert not (tmp_path / "executed").exists()
