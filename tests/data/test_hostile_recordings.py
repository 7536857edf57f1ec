"""Recordings whose headers lie, whose samples are no sound, and tables of them that name what is not there."""

import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from lantu.data import AudioDataModule, SpeechDataModule, SynthesisDataModule, audio_folder
from lantu.data.audio.recordings import SENT, read_recordings, waves_of
from lantu.errors import UserError

TONE = (0.5 * np.sin(np.arange(2400) / 3)).astype(np.float32)


def wav(path: Path, *, rate: int = 8000, data: bytes = TONE.tobytes()) -> None:
    head = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 2, 16)
    path.write_bytes(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + head)
    with path.open("ab") as file:
        file.write(b"data" + struct.pack("<I", len(data)) + data)


def long_flac(path: Path) -> None:
    """A FLAC file whose header tells 68 thousand million samples."""
    soundfile.write(path, TONE, 8000, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] |= 15
    content[22:26] = bytes([255] * 4)
    path.write_bytes(content)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a header of terabytes": (long_flac, "unreadable"),
    "1 Hz": (lambda path: wav(path, rate=1), "unreadable"),
    "2 GHz": (lambda path: wav(path, rate=2**31 - 1), "unreadable"),
    "1e38": (lambda path: soundfile.write(path, TONE * 1e38, 8000, subtype="FLOAT", format="WAV"), "not_finite"),
    "NaN": (lambda path: soundfile.write(path, TONE * np.nan, 8000, subtype="FLOAT", format="WAV"), "not_finite"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_recording_that_is_no_sound_is_said_and_harms_no_other(kind: str, tmp_path: Path) -> None:
    make, found = DAMAGED[kind]
    make(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", TONE, 8000)
    read = read_recordings([str(tmp_path / "a.wav"), str(tmp_path / "b.wav")])
    assert getattr(read, found) == ["a.wav"]
    assert read.rate == 8000
    assert all(np.isfinite(wave).all() and np.abs(wave).max(initial=0) <= 1 for wave in read.waves)
    assert len(read.waves[1]) == len(TONE)


def test_a_recording_that_a_client_sends_is_not_unpacked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(100_000, np.float32), 8000, format="FLAC")
    assert len(buffer.getvalue()) < 1_000
    assert len(waves_of([buffer.getvalue()], rate=8000)[0]) == 100_000
    assert SENT > 3_600 * 48_000
    monkeypatch.setattr("lantu.data.audio.recordings.SENT", 50_000)
    with pytest.raises(UserError, match=r"none of the 1 recordings"):
        waves_of([buffer.getvalue()], rate=8000)


def folder(place: Path, rows: list[dict[str, Any]]) -> Path:
    for number in range(len(rows)):
        soundfile.write(place / f"{number}.wav", TONE * (number + 1) / 20, 8000)
    (place / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return place


def rows(label: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{"file_name": f"{number}.wav", "label": label(number)} for number in range(12)]


@pytest.mark.parametrize("value", [["low"], {"low": 1}])
def test_a_target_of_several_values_is_a_sentence(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="several values in a cell"):
        AudioDataModule(path=str(folder(tmp_path, rows(lambda number: value)))).setup("fit")


def test_names_that_no_file_can_have_and_labels_that_are_missing_are_sentences(tmp_path: Path) -> None:
    named = folder(tmp_path, [*rows(lambda number: "ab"[number % 2]), {"file_name": "x" * 5000, "label": "a"}])
    with pytest.raises(UserError, match="names 1 of 13 recordings that do not exist"):
        AudioDataModule(path=str(named)).setup("fit")
    with pytest.raises(UserError, match="no recording is left"):
        AudioDataModule(path=str(folder(tmp_path, rows(lambda number: None)))).setup("fit")


def test_transcripts_longer_than_their_recordings_leave_a_sentence(tmp_path: Path) -> None:
    path = str(folder(tmp_path, rows(lambda number: "a word " * 100)))
    with pytest.raises(UserError, match=r"no recording is left to train on .*12 recordings with fewer frames"):
        SynthesisDataModule(path=path, transcript="label").setup("fit")


def test_slow_sampling_gives_finite_features(tmp_path: Path) -> None:
    path = folder(tmp_path, rows(lambda number: "ab"[number % 2]))
    for number in range(12):
        soundfile.write(path / f"{number}.wav", TONE * (number + 1) / 20, 100)
    module = SpeechDataModule(path=str(path), transcript="label", split={"val": 0.2, "test": 0.2})
    module.setup("fit")
    inputs, _ = module.splits["train"].__getitems__([0, 1])  # type: ignore[attr-defined]
    assert torch.isfinite(inputs["features"]).all()


def test_class_folders_with_links_to_themselves_and_pipes_are_read(tmp_path: Path) -> None:
    for number in range(24):
        (tmp_path / "ab"[number % 2]).mkdir(exist_ok=True)
        soundfile.write(tmp_path / "ab"[number % 2] / f"{number}.wav", TONE * (number + 1) / 30, 8000)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "self.wav").symlink_to("self.wav")
    os.mkfifo(tmp_path / "a" / "pipe.wav")
    module = AudioDataModule(path=str(tmp_path))
    module.setup("fit")
    assert sum(module.report.sizes.values()) == 24


def test_class_folders_that_differ_in_case_or_spaces_are_said(tmp_path: Path) -> None:
    for name in ("yes", "Yes ", "no"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.wav", TONE, 8000)
    assert audio_folder(str(tmp_path)).notes == ["2 classes differ in case or spaces alone: 'Yes ', 'yes'"]
