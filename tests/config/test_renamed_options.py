"""An option under the name it had before works as under its new one, and a note says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lantu import notices
from lantu.config.composing import compose
from lantu.data import SeriesDataModule, SpeechDataModule
from lantu.renamed_options import with_current_name


@pytest.mark.parametrize(
    ("data", "old", "new", "value"),
    [
        ("time_series", "data.inputs=[a,b]", "data.covariates", ["a", "b"]),
        ("time_series", "++data.input_transform=difference", "data.covariate_transform", "difference"),
        ("speech_folder", "data.inputs=waveform", "data.features", "waveform"),
    ],
)
def test_what_is_typed_under_an_old_name_is_read_under_the_new_one(
    data: str, old: str, new: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    notices._printed.clear()
    cfg = compose(f"data={data}", "data.path=none", old).cfg
    assert cfg.data[new.removeprefix("data.")] == value
    typed = old.lstrip("+").partition("=")[0]
    assert f"`{typed}` is now called `{new}`" in capsys.readouterr().err


def test_a_monitor_of_a_script_by_its_old_name_is_the_slice() -> None:
    typed = "callbacks.checkpoint.monitor=val/accuracy_by_script/Latin"
    assert with_current_name(typed) == "callbacks.checkpoint.monitor=val/accuracy/slice/script/Latin"


def test_a_config_that_was_written_with_old_names_builds_the_same_data(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame({"a": np.arange(60.0), "b": np.arange(60.0) ** 2}).to_csv(path, index=False)
    common: dict[str, Any] = {"path": str(path), "target": "a", "context": 4}
    old = SeriesDataModule(**common, inputs=["b"], input_transform="difference")
    new = SeriesDataModule(**common, covariates=["b"], covariate_transform="difference")
    for each in (old, new):
        each.prepare_data()
    assert old.fingerprints == new.fingerprints
    assert old.spec == new.spec
    assert old.spec["variables"] == 2
    pytest.importorskip("torchaudio", reason="the extra `audio` is not installed")
    assert SpeechDataModule(path=str(tmp_path), inputs="waveform").features == "waveform"
