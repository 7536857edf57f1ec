"""Weights that are damaged, forged or diverged are refused in a sentence, whether in a checkpoint or an export."""

import json
import struct
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lantu
from lantu.checkpoints.weights import check_types
from lantu.cli.main import main
from lantu.compare.reading.prediction_files import _complete
from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.prediction_file import FOLDER, read_predictions
from tests.conftest import SHORT


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, own_data: dict[str, list[str]]) -> lantu.Result:
    options = [*SHORT, "++callbacks.figures=null", *own_data["csv"]]
    return lantu.run(lantu.compose(f"paths.root={tmp_path_factory.mktemp('run')}", "data=csv", "model=mlp", *options))


@pytest.fixture
def loaded(run: lantu.Result) -> dict[str, Any]:
    return deepcopy(torch.load(run.best_checkpoint, weights_only=True))


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda value: value.fill_(float("nan")), "infinite or no numbers"),
        (lambda value: value.index_fill(0, torch.tensor([0]), float("inf")), "infinite or no numbers"),
        (lambda value: value.to(torch.int8), "of torch.int8"),
        (lambda value: value.to(torch.complex64), "of torch.complex64"),
        (lambda value: value[:1], "do not fit together"),
        (lambda value: None, "do not fit together"),
    ],
    ids=["nan", "inf", "int8", "complex", "cut", "none"],
)
def test_weights_of_a_checkpoint_that_cannot_be_the_networks_are_refused(
    forge: Any, said: str, loaded: dict[str, Any], tmp_path: Path
) -> None:
    name = next(name for name, value in loaded["state_dict"].items() if value.ndim == 2)
    loaded["state_dict"][name] = forge(loaded["state_dict"][name])
    torch.save(loaded, tmp_path / "forged.ckpt")
    with pytest.raises(UserError, match=said):
        rebuild(tmp_path / "forged.ckpt")


def test_half_precision_is_no_other_type() -> None:
    module = torch.nn.Linear(2, 2)
    check_types({name: value.half() for name, value in module.state_dict().items()}, module)


def forged(content: bytes, change: Any) -> bytes:
    """A safetensors file with another header or body."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    first = next(name for name in header if name != "__metadata__")
    header, body = change(header, body, first) or (header, body)
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + bytes(body)


CHANGES: dict[str, Any] = {
    "outside": lambda header, _, name: header[name].update(data_offsets=[0, 10**12]),
    "backwards": lambda header, _, name: header[name].update(data_offsets=[8, 0]),
    "overlapping": lambda header, _, name: header.update({each: header[name] for each in header if each[0] != "_"}),
    "type": lambda header, _, name: header[name].update(dtype="I8"),
    "integers": lambda header, _, name: header[name].update(dtype="I32"),
    "unknown type": lambda header, _, name: header[name].update(dtype="X99"),
    "huge shape": lambda header, _, name: header[name].update(shape=[2**40, 2**40]),
    "nan": lambda header, body, _: (header, bytearray(b"\xff" * len(body))),
    "cut": lambda header, body, _: (header, body[: len(body) // 2]),
    "renamed": lambda header, _, name: header.update(another=header.pop(name)),
}


def test_an_export_whose_weights_lie_is_refused_in_a_sentence(
    run: lantu.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors", reason="needs safetensors")
    monkeypatch.chdir(tmp_path)
    assert main(["export", f"run={run.best_checkpoint}", "format=safetensors", "output=export"]) == 0
    (file,) = (tmp_path / "export").glob("*.safetensors")
    whole = file.read_bytes()
    lies = {name: forged(whole, change) for name, change in CHANGES.items()}
    lies |= {"huge header": struct.pack("<Q", 2**60) + whole[8:], "empty": b"", "zeros": bytes(64)}
    for name, content in lies.items():
        file.write_bytes(content)
        with pytest.raises(UserError) as refused:
            rebuild(next((tmp_path / "export").glob("*.ckpt")))
        assert str(refused.value).endswith("."), name


def test_predictions_without_a_checksum_must_be_as_many_as_the_run_measured(run: lantu.Result, tmp_path: Path) -> None:
    folder = Path(run.best_checkpoint).parent.parent
    (tmp_path / "data.json").write_bytes((folder / "data.json").read_bytes())
    frame = read_predictions(folder / FOLDER / "test.parquet")
    assert len(_complete(frame, tmp_path, "test")) == len(frame)
    rewritten = pd.DataFrame(frame.to_dict("list"))
    assert len(_complete(rewritten, tmp_path, "test")) == len(frame)
    for changed in (rewritten.iloc[::2], pd.concat([rewritten, rewritten])):
        with pytest.raises(UserError, match=f"no checksum, and the run measured {len(frame)} rows"):
            _complete(changed, tmp_path, "test")
