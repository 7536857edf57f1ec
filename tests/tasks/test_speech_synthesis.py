"""Speech synthesis from end to end on tones: training, resuming, speaking, evaluating, and what is refused."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pytorch_lightning import Trainer
from starlette.testclient import TestClient
from torchaudio.functional import edit_distance

import lantu
from lantu.cli.main import main
from lantu.config.composing import compose
from lantu.data import SynthesisDataModule
from lantu.data.samplers import Chosen
from lantu.inference.rebuild import rebuild
from lantu.serving.http.app import build_app
from lantu.serving.serve_command import make_server
from lantu.tasks.spectral_distortion import mel_cepstral_distortion, warped_mean
from lantu.tasks.waveform_baselines import bits_of_counts
from lantu.training import Intelligibility
from lantu.training.callbacks.interruptible import Interruptible

RATE = 8000
SMALL = [
    "experiment=speech_synthesis", "data=synthesis_folder", "model.channels=8", "model.skip=12", "model.layers=4",
    "model.dilations=4", "model.width=16", "data.batch_size=4", "data.segment=0.1", "data.split={val:0.2,test:0.2}",
    "task.sample_seconds=0.4", "task.test_samples=2", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false",
    "trainer.log_every_n_steps=1", "logger.mlflow.ship=false", "save_model=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers who say "low" and "high" as tones."""
    folder = tmp_path_factory.mktemp("voices")
    lines = ["file_name,transcription,speaker"]
    for speaker, shift in (("ann", 1.0), ("bob", 1.2)):
        for number in range(10):
            word, frequency = (("Low.", 300), ("High!", 1200))[number % 2]
            wave = 0.4 * np.sin(2 * np.pi * frequency * shift * np.arange(2400 + 100 * number) / RATE)
            soundfile.write(folder / f"{speaker}{number}.wav", wave, RATE)
            lines.append(f"{speaker}{number}.wav,{word},{speaker}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    home = tmp_path_factory.mktemp("speaking")
    return lantu.run(lantu.compose(*SMALL, f"data.path={voices}", f"paths.root={home}", "trainer.max_epochs=2"))


def home_of(run: lantu.Result) -> str:
    return f"paths.root={run.run_dir.parents[3]}"


def test_a_run_has_bits_per_sample_distortion_and_the_audio_of_every_validation(run: lantu.Result) -> None:
    assert 0 < run.metrics["val/bits_per_sample"] < 9
    assert run.metrics["val/nats_per_sample"] == pytest.approx(run.metrics["val/bits_per_sample"] * np.log(2), rel=1e-4)
    assert run.metrics["test/mcd_db"] > 0
    heard = sorted(path.name for path in (run.run_dir / "samples").iterdir())
    assert {"speech.flac", "speech_real.flac", "spectrogram.png"} <= set(heard)
    assert sum(name.startswith("speech_") and name[7].isdigit() for name in heard) == 2
    wave, rate = soundfile.read(run.run_dir / "samples" / "speech.flac")
    assert rate == RATE
    assert len(wave) > 0


@pytest.mark.slow
def test_a_run_that_stopped_inside_an_epoch_resumes_to_the_same_weights(
    run: lantu.Result, voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*SMALL, f"data.path={voices}", f"paths.run={tmp_path}/run", f"paths.root={tmp_path}", "test=false"]

    def stop(self: Interruptible, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 8:
            raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Interruptible, "on_train_batch_start", stop)
        with pytest.raises(RuntimeError, match="stopped"):
            lantu.run(lantu.compose(*asked, "trainer.max_epochs=2", "callbacks.resume.steps=3"))
    again = lantu.run(lantu.compose(*asked, "trainer.max_epochs=2", f"resume={tmp_path}/run"))
    best = torch.load(run.run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in again.module.state_dict().items():
        if name.startswith("net."):
            assert torch.equal(weight, best[name]), name


def test_a_prompt_becomes_a_recording(run: lantu.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["predict", f"run={run.run_dir}", home_of(run), "prompt=Low. High?"]
    assert main([*typed, f"output={tmp_path}/ann.wav"]) == 0
    assert "s of speech at 8000 Hz written to" in capsys.readouterr().out
    assert main([*typed, f"output={tmp_path}/again.wav", "speaker=ann"]) == 0
    assert main([*typed, f"output={tmp_path}/bob.flac", "speaker=bob"]) == 0
    ann, again, bob = (soundfile.read(tmp_path / name)[0] for name in ("ann.wav", "again.wav", "bob.flac"))
    assert np.array_equal(ann, again)
    assert not np.array_equal(ann, bob), "the speaker is heard"


def test_a_served_model_speaks_as_predict_does(run: lantu.Result, tmp_path: Path) -> None:
    typed = ["predict", f"run={run.run_dir}", home_of(run), "prompt=Low.", "speaker=bob"]
    assert main([*typed, f"output={tmp_path}/bob.wav"]) == 0
    server = make_server(compose(f"run={run.best_checkpoint}", command="serve").cfg, None)
    with TestClient(build_app(server), base_url="http://localhost") as client:
        asked = {"inputs": [{"text": "Low."}], "params": {"speaker": "bob"}}
        (answer,) = client.post("/predict", json=asked).json()["predictions"]
        refused = client.post("/predict", json={"inputs": [{"sound": 1}]})
    assert answer["type"] == "audio/wav"
    spoken, rate = soundfile.read(io.BytesIO(base64.b64decode(answer["audio"])))
    assert rate == RATE
    assert np.array_equal(spoken, soundfile.read(tmp_path / "bob.wav")[0])
    assert refused.status_code == 422
    assert "a speech model takes" in refused.text


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["prompt=low"], "add `output=FILE.wav`"),
        (["prompt=low", "output=x.wav", "speaker=eve"], "the model was trained on ann, bob"),
        (["prompt=555", "output=x.wav"], "none of its characters is in the training transcripts"),
        (["prompt=low", "output=x.csv"], "must be one of .wav, .flac"),
    ],
)
def test_what_cannot_be_spoken_is_refused_in_a_sentence(
    typed: list[str], said: str, run: lantu.Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", f"run={run.run_dir}", home_of(run), *typed]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_characters_of_a_prompt_that_training_lacks_are_said(voices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = SynthesisDataModule(path=str(voices), split={"val": 0.2, "test": 0.2})
    data.prepare_data()
    data.tokens_of(["Low - high!"])
    assert "prompt" not in capsys.readouterr().err
    data.tokens_of(["Low 5% high?"])
    assert "no training transcript has 5, so it is not spoken" in capsys.readouterr().err


def test_a_vocoder_speaks_a_recording_again(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*SMALL, f"data.path={voices}", f"paths.root={tmp_path}", "model.condition=mels", "trainer.max_epochs=1"]
    result = lantu.run(lantu.compose(*asked))
    typed = ["predict", f"run={result.run_dir}", f"paths.root={tmp_path}"]
    assert main([*typed, f"input={voices}/ann0.wav", f"output={tmp_path}/out.wav"]) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(voices / "ann0.wav").frames
    assert main([*typed, "prompt=low", f"output={tmp_path}/out.wav"]) == 2
    assert "model.condition=characters" in capsys.readouterr().err


def test_an_epoch_hears_every_recording_once_to_within_a_stretch(voices: Path) -> None:
    data = SynthesisDataModule(path=str(voices), split={"val": 0.2, "test": 0.2}, segment=0.05)
    data.prepare_data()
    train = data.splits["train"]
    x, y = train.__getitems__(Chosen(list(range(len(train))), seed=0, epoch=0))  # type: ignore[attr-defined]
    samples = sum(len(each.codes) for each in train.recordings)  # type: ignore[attr-defined]
    assert samples <= int(y["samples"].sum()) < 1.6 * samples, "a recording's beginning has no context to leave out"
    for row in range(len(train)):
        own = train.recordings[train._of[row]].codes  # type: ignore[attr-defined]
        first, size = int(x["begin"][row]) * 80, int(x["ends"][row])
        assert torch.equal(x["codes"][row, :size], own[first : first + size].long())
    val, _ = data.splits["val"].__getitems__([0])  # type: ignore[attr-defined]
    assert int(val["scored"][0]) == len(data.splits["val"].recordings[0].codes)  # type: ignore[attr-defined]


def test_recordings_that_cannot_be_aligned_are_left_out_and_named(voices: Path, tmp_path: Path) -> None:
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.sin(np.arange(4000)), RATE)
    soundfile.write(tmp_path / "hasty.wav", np.sin(np.arange(400)), RATE)
    names = [*(f"{number}.wav" for number in range(4)), "hasty.wav"]
    lines = [f"{name},so many letters" for name in names]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,transcription", *lines]))
    data = SynthesisDataModule(path=str(tmp_path), split={"val": 0.3})
    data.prepare_data()
    said = " ".join(map(str, data.report.lines()))
    assert "1 recording with fewer frames than characters left out: hasty.wav" in said


def test_the_counting_baselines_are_the_entropies_of_their_counts() -> None:
    codes = {"train": [np.array([1, 2] * 5000)], "val": [np.array([1, 2, 1, 2])], "test": [np.array([1, 1])]}
    unigram, bigram = (bits_of_counts(codes, order=order) for order in (1, 2))
    assert unigram["val"] == pytest.approx(1, abs=0.05)
    assert bigram["test"] > 5
    assert unigram["test"] < 2


def test_distortion_is_nothing_for_the_same_recording_or_a_louder_one_and_grows_with_the_difference() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=4000).astype(np.float32) * 0.1
    smooth = np.convolve(noise, np.ones(8) / 8, mode="same").astype(np.float32)
    options = {"rate": RATE, "hop": 80}
    assert mel_cepstral_distortion(noise, noise, **options) == 0
    assert mel_cepstral_distortion(noise, 3 * noise, **options) < 0.5
    assert mel_cepstral_distortion(noise, smooth, **options) > 3


def test_warping_pairs_a_slower_copy_with_the_original() -> None:
    first = np.array([0.0, 1, 2, 3])
    slower = np.repeat(first, 3)
    assert warped_mean(np.abs(first[:, None] - slower[None])) == 0


def test_what_a_recogniser_understands_is_measured_beside_the_recordings(
    run: lantu.Result, voices: Path, tmp_path: Path
) -> None:
    quiet = ["trainer.enable_progress_bar=false", "logger=[]", "save_model=false", "test=false", "model.width=16"]
    own = [f"data.path={voices}", f"paths.root={tmp_path}", "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    recogniser = lantu.run(lantu.compose("data=speech_folder", "model=ctc", *own, *quiet))
    rebuilt = rebuild(run.best_checkpoint)
    callback = Intelligibility(recogniser=str(recogniser.run_dir), texts=3)
    trainer = Trainer(callbacks=[callback], accelerator="cpu", logger=False, enable_progress_bar=False)
    (found,) = trainer.test(rebuilt.task, rebuilt.data, verbose=False)
    assert set(callback.table["text"]) <= {"low", "high"}
    for kind, column in (("intelligibility", "heard_in_generated"), ("recording", "heard_in_recording")):
        pairs = list(zip(callback.table["text"], callback.table[column], strict=True))
        wrong = sum(edit_distance(heard, said) for said, heard in pairs) / sum(len(said) for said, _ in pairs)
        assert found[f"test/{kind}_cer"] == pytest.approx(wrong)
    assert len(callback.table["text"]) == 3


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("recogniser=null", r"callbacks\.intelligibility\.recogniser=RUN"),
        ("recogniser=RUN", "does not recognise speech"),
        ("recogniser=nowhere", "nowhere"),
    ],
)
def test_a_recogniser_that_is_none_is_refused(
    typed: str, told: str, run: lantu.Result, voices: Path, tmp_path: Path
) -> None:
    typed = typed.replace("RUN", str(run.run_dir))
    own = [f"data.path={voices}", f"paths.root={tmp_path}", "callbacks=[default,intelligibility]"]
    with pytest.raises(lantu.UserError, match=told):
        lantu.run(lantu.compose(*SMALL, *own, f"callbacks.intelligibility.{typed}"))
