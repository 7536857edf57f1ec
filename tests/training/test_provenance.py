"""The record of a run names what is installed."""

from importlib.metadata import distributions
from pathlib import Path

import pytest

from lantu.training import provenance


def test_every_installed_package_is_listed_with_its_version() -> None:
    expected = {f"{each.metadata['Name']}=={each.version}" for each in distributions() if each.metadata["Name"]}
    listed = provenance.packages().splitlines()
    assert len(listed) > 50
    assert set(listed) <= expected  # of a package that is there twice one is listed
    assert {each.partition("==")[0] for each in listed} == {each.partition("==")[0] for each in expected}


def test_a_package_without_metadata_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, metadata in {
        "whole-1.0": "Name: whole\nVersion: 1.0\n\nName: not this\n",
        "cut-2.0": "Name: cut\n",
    }.items():
        (tmp_path / f"{folder}.dist-info").mkdir()
        (tmp_path / f"{folder}.dist-info" / "METADATA").write_text(metadata)
    (tmp_path / "empty-3.0.dist-info").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert provenance.packages.__wrapped__() == "whole==1.0\n"
