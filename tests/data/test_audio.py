"""Recordings: formats, rates and channels, damaged files, features, augmentation, and a run from end to end."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import lantu
from lantu.cli.main import main
from lantu.data import AudioDataModule, audio_folder
from lantu.data.audio.augmentation import DRAWS, Augment
from lantu.data.audio.features import FLOOR, LogMel, Standard, WhisperMel
from lantu.data.audio.recordings import audio_files, note_findings, read_recordings, waves_of
from lantu.data.audio.spectrogram_sheet import GAP, HEIGHT, LINE, WIDTH, spectrogram_sheet
from lantu.data.audio.surroundings import Surroundings
from lantu.data.cleaning_report import Report
from lantu.data.samplers import Chosen
from lantu.models.transformers_speech import silence_of

RATE = 8000


def tone(frequency: float, *, seconds: float = 0.3, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Low and high tones in class folders, twenty of each."""
    folder = tmp_path / "tones"
    for name, frequency in (("low", 300), ("high", 1500)):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            wave = tone(frequency + 10 * number, seconds=0.25 + 0.005 * number)
            soundfile.write(folder / name / f"{number}.wav", wave, RATE)
    return folder


def test_formats_rates_and_channels_become_one(tmp_path: Path) -> None:
    wave = tone(440, seconds=0.5)
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    soundfile.write(tmp_path / "b.flac", np.stack([wave, wave], axis=1), RATE)
    soundfile.write(tmp_path / "c.ogg", wave, RATE)
    soundfile.write(tmp_path / "d.wav", tone(440, seconds=0.5, rate=16000), 16000)
    read = read_recordings([str(tmp_path / name) for name in ("a.wav", "b.flac", "c.ogg", "d.wav")])
    assert read.rate == RATE
    assert (read.resampled, read.mixed_down) == (1, 1)
    for each in read.waves:
        assert abs(len(each) - len(wave)) < 100
        strongest = np.abs(np.fft.rfft(each[: len(wave)])).argmax() * RATE / len(wave)
        assert strongest == pytest.approx(440, abs=5)


def test_unreadable_empty_silent_and_clipped_recordings_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.wav").write_bytes(b"RIFF\x00\x00")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, dtype=np.float32), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(800, dtype=np.float32), RATE)
    soundfile.write(tmp_path / "clipped.wav", np.sign(tone(200)), RATE)
    soundfile.write(tmp_path / "good.wav", tone(200), RATE)
    names = ("cut.wav", "empty.wav", "silent.wav", "clipped.wav", "good.wav")
    read = read_recordings([str(tmp_path / name) for name in names])
    assert (read.unreadable, read.empty, read.silent, read.clipped) == (
        ["cut.wav"], ["empty.wav"], ["silent.wav"], ["clipped.wav"],
    )  # fmt: skip
    assert read.readable.tolist() == [False, False, True, True, True]


def test_a_tone_is_in_the_mel_band_of_its_frequency() -> None:
    mel = LogMel(rate=RATE, mels=40)
    spectrogram = mel(torch.from_numpy(tone(1000)[None]))
    highest = 2595 * np.log10(1 + (RATE / 2) / 700)
    expected = 2595 * np.log10(1 + 1000 / 700) / highest * 41 - 1  # HTK mel scale, 40 triangles
    assert spectrogram.shape == (1, 40, mel.frames(len(tone(1000))))
    assert abs(int(spectrogram[0, :, 10].argmax()) - expected) <= 1


def test_whispers_log_mels_are_those_of_transformers() -> None:
    from transformers import WhisperFeatureExtractor

    rng = np.random.default_rng(0)
    wave = (0.1 * rng.standard_normal(16000 + 77) * np.linspace(0, 1, 16077) ** 4).astype(np.float32)
    wave[:4000] = 0
    theirs = WhisperFeatureExtractor(feature_size=80)(wave, sampling_rate=16000, return_tensors="pt").input_features[0]
    ours = WhisperMel()(torch.from_numpy(wave))
    assert ours.shape == (80, 100)
    torch.testing.assert_close(ours, theirs[:, :100], rtol=0, atol=1e-4)
    behind = theirs[:, 110:]  # the silence that a recording is filled up with
    torch.testing.assert_close(silence_of(ours[None]).expand(1, *behind.shape)[0], behind, rtol=0, atol=1e-5)


def test_a_recording_shorter_than_a_frame_has_a_spectrogram() -> None:
    assert LogMel(rate=RATE)(torch.zeros(1, 5)).isfinite().all()


def test_a_request_with_an_unreadable_recording_is_refused_in_a_sentence(tones: Path) -> None:
    good = (tones / "low" / "0.wav").read_bytes()
    assert len(waves_of([good, good], rate=RATE)) == 2
    with pytest.raises(lantu.UserError, match="recording 1 of 2 of the request cannot be read"):
        waves_of([good, b"no sound"], rate=RATE)


def test_augmentation_depends_on_seed_epoch_and_example_alone(tones: Path) -> None:
    options = {"shift": 0.2, "gain": 6.0, "tempo": 0.1, "warp": 0.1, "frequency_mask": 8, "time_mask": 0.2}
    data = AudioDataModule(path=str(tones), augment=options, split={"val": 0.2, "test": 0.2})
    data.prepare_data()
    data.setup("fit")
    train = data.splits["train"]
    first, _ = train.__getitems__(Chosen([0, 1, 2], seed=1, epoch=0))  # type: ignore[attr-defined]
    again, _ = train.__getitems__(Chosen([2, 0], seed=1, epoch=0))  # type: ignore[attr-defined]
    other, _ = train.__getitems__(Chosen([0, 1, 2], seed=1, epoch=1))  # type: ignore[attr-defined]
    torch.testing.assert_close(first[[2, 0]], again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    plain, _ = train.__getitems__([0, 1, 2])  # type: ignore[attr-defined]
    assert not torch.equal(plain, first)


def test_a_shift_moves_a_recording_and_fills_up_with_silence() -> None:
    x = torch.arange(10.0).view(1, 1, 1, 10).expand(1, 1, 4, 10)
    draws = np.full((1, DRAWS), 0.5)
    draws[0, 2] = 1.0  # to the right by the whole of the 30%
    standard = Standard.of([0.0] * 4, [1.0] * 4)
    moved = Augment(shift=0.3)(x, draws, standard=standard)
    silence = float(np.log(FLOOR))
    assert moved[0, 0, 0].tolist() == pytest.approx([silence] * 3 + [0, 1, 2, 3, 4, 5, 6])


def test_a_gain_is_in_decibels() -> None:
    standard = Standard.of([-3.0] * 4, [1.0, 2.0, 3.0, 4.0])
    x, draws = torch.randn(1, 1, 4, 10), np.full((1, DRAWS), 0.5)
    draws[0, 3] = 1.0
    louder = standard.undone(Augment(gain=6.0)(x, draws, standard=standard)) - standard.undone(x)
    torch.testing.assert_close(louder * 10 / np.log(10), torch.full_like(louder, 6.0))


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    """Two seconds of noise, and a room with an echo of half the power after 100 ms."""
    echo = np.zeros(1600)
    echo[[0, 800]] = 1.0, np.sqrt(0.5)
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    for name, wave in (("noise", noise), ("rooms", echo)):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.wav", wave, RATE)
    folders = {"noise": f"{tmp_path}/noise", "reverb": f"{tmp_path}/rooms"}
    return Surroundings.read(**folders, mel=LogMel(rate=RATE), report=Report())


def test_noise_is_as_many_decibels_below_a_recording_as_was_drawn(surroundings: Surroundings) -> None:
    power = LogMel(rate=RATE)(torch.from_numpy(np.stack([tone(f) for f in (300, 900)])).float()).exp()
    noisy = surroundings.with_noise(power, begin=torch.tensor([0.2, 0.9]), decibels=torch.tensor([20.0, 0.0]))
    added = (noisy - power).mean(dim=(1, 2)) / power.mean(dim=(1, 2))
    torch.testing.assert_close(added, torch.tensor([0.01, 1.0]))
    padded = torch.nn.functional.pad(power, (0, 30))
    frames = torch.tensor([power.shape[2]] * 2)
    longer = surroundings.with_noise(
        padded, begin=torch.tensor([0.2, 0.9]), decibels=torch.tensor([20.0, 0.0]), lengths=frames
    )
    added = (longer - padded).mean(dim=(1, 2)) / power.mean(dim=(1, 2))
    torch.testing.assert_close(added, torch.tensor([0.01, 1.0]))


def test_a_room_repeats_a_sound_and_keeps_its_loudness(surroundings: Surroundings) -> None:
    power = torch.zeros(1, 40, 60)
    power[:, :, 5] = 3.0
    heard = surroundings.in_a_room(power, torch.tensor([0.5]))
    assert float(heard.sum()) == pytest.approx(3.0 * 40, rel=1e-4)
    assert set(heard.sum(dim=1)[0].topk(2).indices.tolist()) <= {5, 6, 14, 15, 16}
    assert float(heard[..., :5].sum()) == pytest.approx(0, abs=1e-4)


def test_a_room_whose_recording_lacks_a_band_leaves_the_band_as_it_is(tmp_path: Path) -> None:
    # with so many bands some have no frequency of the transform, and so no power
    soundfile.write(tmp_path / "1.wav", np.append(1.0, np.zeros(1599)), RATE)
    mel = LogMel(rate=RATE, mels=128)
    room = Surroundings.read(noise=None, reverb=str(tmp_path), mel=mel, report=Report())
    assert room.responses is not None
    torch.testing.assert_close(room.responses.sum(dim=2), torch.ones(1, 128))


def test_surroundings_are_drawn_by_seed_epoch_and_example_and_said(
    surroundings: Surroundings, tmp_path: Path, tones: Path
) -> None:
    options = {"noise": f"{tmp_path}/noise", "snr": [0, 0], "reverb": f"{tmp_path}/rooms", "noise_share": 1.0}
    data = AudioDataModule(path=str(tones), deltas=True, augment=options, split={"val": 0.2, "test": 0.2})
    data.prepare_data()
    assert any("augmented by noise: 1 recordings, 2 s" in line for line in data.report.lines())
    train: Any = data.splits["train"]
    first, again = (train.__getitems__(Chosen([0, 1], seed=1, epoch=epoch))[0] for epoch in (0, 0))
    assert torch.equal(first, again)
    plain, _ = train.__getitems__([0, 1])
    assert (first[:, 0].mean(dim=(1, 2)) > plain[:, 0].mean(dim=(1, 2))).all()
    assert not torch.equal(first[:, 1:], plain[:, 1:])  # differences in time are those of what is heard
    (tmp_path / "noise").rename(tmp_path / "gone")
    again = AudioDataModule(path=str(tones), deltas=True, augment=options, split={"val": 0.2, "test": 0.2})
    again.load_state_dict(data.state_dict())
    again.prepare_data()  # to measure a trained model takes no noise
    with pytest.raises(lantu.UserError, match=r"training needs the recordings of `data\.augment\.noise="):
        again.splits["train"].__getitems__(Chosen([0, 1], seed=1, epoch=0))  # type: ignore[attr-defined]
    with pytest.raises(lantu.UserError, match=r"data\.augment\.noise=nowhere"):
        Augment(noise="nowhere").surroundings(LogMel(rate=RATE), Report())
    with pytest.raises(lantu.UserError, match=r"data\.augment\.snr"):
        Augment.of({"noise": "here", "snr": [9, 3]})


def test_a_table_names_speakers_and_one_of_them_is_held_out(tmp_path: Path) -> None:
    lines = ["file_name,label,speaker"]
    for speaker in ("ann", "bob", "eve"):
        for number in range(4):
            soundfile.write(tmp_path / f"{speaker}{number}.wav", tone(300 + 100 * number), RATE)
            lines.append(f"{speaker}{number}.wav,{number % 2},{speaker}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    raw = audio_folder(str(tmp_path), held_out={"speaker": ["bob"]})
    assert set(raw.rows.loc[raw.split == "test", "speaker"]) == {"bob"}
    assert set(raw.rows.loc[raw.split == "train", "speaker"]) == {"ann", "eve"}
    with pytest.raises(lantu.UserError, match=r"`zoe` does not occur. There are: ann, bob, eve"):
        audio_folder(str(tmp_path), held_out={"speaker": ["zoe"]})
    (tmp_path / "ann0.wav").unlink()
    with pytest.raises(lantu.UserError, match=r"names 1 of 12 recordings that do not exist, such as ann0.wav"):
        audio_folder(str(tmp_path))


def test_a_folder_of_recordings_trains_evaluates_and_predicts(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tones / "low" / "broken.wav").write_bytes(b"no sound")
    typed = ["data=audio_folder", f"data.path={tones}", "model=speech_cnn", "model.filters=4", "model.width=8"]
    short = ["trainer.max_epochs=8", "optimizer.lr=1e-2", "data.batch_size=8", "callbacks.figures=null"]
    short.append("logger.mlflow.ship=false")
    assert main(["train", *typed, *short]) == 0
    shown = capsys.readouterr().out
    assert "1 recording that could not be read left out" in shown or "broken.wav" in shown
    assert main(["evaluate", "run=last"]) == 0
    assert main(["predict", "run=last", f"input={tones / 'high'}", "output=answers.csv"]) == 0
    answers = (tmp_path / "answers.csv").read_text().splitlines()
    assert len(answers) == 21
    assert sum(",high," in line for line in answers) >= 15


def test_links_that_lead_nowhere_and_folders_are_no_recordings(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "there.wav").write_bytes(b"RIFF")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "nothing")
    assert [file.name for file in audio_files(tmp_path)] == ["there.wav"]
    assert "folder.wav, link.wav" in capsys.readouterr().err


def test_what_would_be_heard_wrongly_is_mended_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone = 0.5 * np.sin(np.arange(4000) / 3).astype(np.float32)
    holes = np.where(np.arange(4000) == 7, np.inf, np.where(np.arange(4000) % 50 == 3, np.nan, tone)).astype(np.float32)
    soundfile.write(tmp_path / "opposite.wav", np.stack([0.98 * tone, -tone], axis=1), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "holes.wav", holes, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "cut.wav", tone, 8000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:4000])
    soundfile.write(tmp_path / "whole.wav", np.stack([tone, 0 * tone], axis=1), 8000)
    (tmp_path / "phone.m4a").write_bytes(b"ftypM4A")
    files = audio_files(tmp_path)
    assert "such as phone.m4a, cannot be read" in capsys.readouterr().err
    read = read_recordings([str(file) for file in files])
    waves = {file.stem: wave for file, wave in zip(files, read.waves, strict=True)}
    assert (read.cancelled, read.not_finite, read.cut_short) == (["opposite.wav"], ["holes.wav"], ["cut.wav"])
    np.testing.assert_allclose(waves["opposite"], -tone)
    np.testing.assert_allclose(waves["whole"], tone / 2, atol=1e-4)
    np.testing.assert_allclose(waves["holes"], np.where(np.isfinite(holes), holes, 0))
    report = Report(unit="recordings")
    note_findings(read, report)
    assert "1 recording with channels of opposite phase, of which the loudest channel is used" in str(report.lines())


def test_a_recording_under_two_classes_is_warned_of(tones: Path) -> None:
    shutil.copy(tones / "low" / "0.wav", tones / "high" / "copy.wav")
    data = AudioDataModule(path=str(tones), split={"val": 0.2, "test": 0.2})
    data.prepare_data()
    said = "1 recording occurs under more than one class, sample for sample; look at their labels"
    assert said in data.report.warnings


def test_a_sheet_shows_training_recordings_beside_themselves_as_they_are_changed(
    tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    options: dict[str, Any] = {"path": str(tones), "split": {"val": 0.2, "test": 0.2}}
    data = AudioDataModule(augment={"gain": 20.0}, **options)
    data.setup("fit")
    sheet = data.augmented_sample()
    assert sheet is not None
    frames = data.spec["width"]
    size = (frames * WIDTH, data.spec["height"] * HEIGHT)
    places = ((GAP, 2 * LINE), (2 * GAP + size[0], 2 * LINE))  # of the first pair
    before, after = (
        np.asarray(sheet.crop((left, top, left + size[0], top + size[1]))).astype(int) for left, top in places
    )
    louder = 2 * np.random.default_rng((0, 0)).random((len(data.splits["train"]), 12))[0, 3] - 1 > 0  # type: ignore[arg-type]
    assert (after.mean() > before.mean()) == louder  # brighter where it is louder
    plain = AudioDataModule(**options)
    plain.setup("fit")
    assert plain.augmented_sample() is None


def test_low_frequencies_are_at_the_bottom_of_a_sheet() -> None:
    low = torch.full((40, 10), -2.0)
    low[:20] = 2.0
    picture = np.asarray(spectrogram_sheet([low], [low], ["ein Ton \u4e00"]).convert("L")).astype(int)
    column = picture[2 * LINE : 2 * LINE + 40 * HEIGHT, GAP + 2]
    assert (column[-20 * HEIGHT :] > 150).all()
    assert (column[: 20 * HEIGHT] < 100).all()
