"""`lantu doctor` says what is there and what is missing, and never ends in a traceback."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from lantu.cli.main import main


def test_versions_devices_extras_and_folders_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--fast"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (f"torch {version('torch')}", "python ok", "machine ok", "gpu", "slurm:", "mlruns", "conf"):
        assert part in said


def test_a_library_that_cannot_be_imported_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch", "pytorch_lightning", "mlflow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('libtorch_cpu.so: no such file')\n")
    (tmp_path / "mlflow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr()
    said = " ".join(printed.out.split())
    assert "torch cannot be imported: ImportError: libtorch_cpu.so: no such file" in said
    assert "mlflow cannot be imported: ended by signal 11" in said
    assert "pip install --force-reinstall torch" in said
    assert "Traceback" not in printed.out + printed.err


def test_a_missing_an_old_and_an_optional_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lantu-0.1.0.dist-info"
    folder.mkdir()
    needs = ["no-such-package>=1", "torch>=99", "omegaconf", "neither-this>=2; extra == 'sound'"]
    text = ["Metadata-Version: 2.4", "Name: lantu", "Version: 0.1.0", "Provides-Extra: sound"]
    (folder / "METADATA").write_text("\n".join([*text, *(f"Requires-Dist: {each}" for each in needs)]) + "\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert main(["doctor", "--fast"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "missing no-such-package is not installed pip install 'no-such-package>=1'" in said
    assert f"missing torch {version('torch')} is not >=99" in said
    assert "sound: neither-this is not installed pip install 'lantu[sound]'" in said


def test_a_mistyped_option_of_doctor_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--fats"])
    assert ended.value.code == 2
    assert "--fats" in capsys.readouterr().err
