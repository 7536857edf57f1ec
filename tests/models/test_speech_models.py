"""What every network for speech recognition promises, whatever it is built of."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import lantu
import lantu.notices
from lantu.cli.catalog import fits
from lantu.config.build import build
from lantu.config.composing import compose

VARIANTS = {
    "ctc": [[], ["model.recurrent=true"], ["model.causal=true"]],
    "ctc_cnn": [[], ["model.halvings=2", "model.limited_sharing=true"]],
    "wav2vec2": [["data.features=waveform"]],
    "whisper": [[], ["spec.front_end=whisper_mels"]],
}
CASES = [(model, extra) for model in fits()["speech_folder"] for extra in VARIANTS.get(model, [[]])]


def built(model: str, extra: list[str], *, bands: int, seed: int = 0) -> torch.nn.Module:
    cfg = compose("data=speech_folder", "data.path=none", f"model={model}", *extra).cfg
    cfg.spec.bands, cfg.spec.outputs = bands, 12
    if OmegaConf.is_missing(cfg.spec, "front_end"):
        cfg.spec.front_end = "mels"
    torch.manual_seed(seed)
    net: torch.nn.Module = build(cfg.model)
    return net.eval()


@pytest.mark.parametrize(
    ("model", "extra"), CASES, ids=lambda value: value if isinstance(value, str) else "".join(value)
)
def test_an_utterance_gives_the_same_output_alone_and_in_a_padded_batch(model: str, extra: list[str]) -> None:
    waveform = "data.features=waveform" in extra
    net = built(model, extra, bands=1 if waveform else 40)
    lengths = torch.tensor([120, 77, 31]) * (80 if waveform else 1)
    features = torch.randn(3, 1 if waveform else 40, int(lengths[0]))  # what lies behind an end must not matter
    with torch.inference_mode():
        together = net({"features": features, "lengths": lengths})
        for row, length in enumerate(lengths.tolist()):
            alone = net({"features": features[row : row + 1, :, :length], "lengths": lengths[row : row + 1]})
            frames = int(alone["lengths"])
            assert int(together["lengths"][row]) == frames
            torch.testing.assert_close(
                together["logits"][row, :frames], alone["logits"][0, :frames], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(
    ("model", "bands", "said"),
    [
        ("wav2vec2", 40, "add `data.features=waveform`"),
        ("parakeet", 1, "add `data.features=mels`"),
    ],
)
def test_a_model_for_the_other_kind_of_input_is_refused_in_a_sentence(model: str, bands: int, said: str) -> None:
    extra = ["model.config.encoder_config.num_mel_bins=40"] if model == "parakeet" else []
    with pytest.raises(lantu.UserError, match=said):
        built(model, extra, bands=bands)


def test_frames_that_no_layer_is_left_to_halve_are_refused_in_a_sentence() -> None:
    with pytest.raises(lantu.UserError, match=r"`model.halvings=4` must be .* less than `model.layers=4`"):
        built("ctc_cnn", ["model.halvings=4"], bands=40)


def test_a_recording_too_long_for_whisper_is_refused_in_a_sentence() -> None:
    net = built("whisper", ["model.config.max_source_positions=20"], bands=40)
    with pytest.raises(lantu.UserError, match="up to 40 frames, and there is one of 50"):
        net({"features": torch.zeros(1, 40, 50), "lengths": torch.tensor([50])})


@pytest.mark.parametrize(("kind", "bands"), [("wav2vec2", 1), ("whisper", 40)])
def test_weights_of_a_local_folder_are_kept_but_for_the_output_layer(kind: str, bands: int, tmp_path: Path) -> None:
    extra = ["data.features=waveform"] if bands == 1 else []
    saved = built(kind, extra, bands=bands)
    if kind == "whisper":
        from transformers import WhisperConfig, WhisperModel

        options = {"decoder_layers": 1, "decoder_attention_heads": 4, "vocab_size": 30, "pad_token_id": 0}
        whole = WhisperModel(WhisperConfig(**{**saved.form, **options}))
        whole.encoder.load_state_dict(saved.net.encoder.state_dict())
        whole.save_pretrained(tmp_path)
    else:
        saved.net.save_pretrained(tmp_path)
    tuned = built(kind, [*extra, f"model.pretrained={tmp_path}"], bands=bands, seed=1)
    before, after = saved.state_dict(), tuned.state_dict()
    assert before.keys() == after.keys()
    renewed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[0] for name in renewed} == {"net.lm_head" if kind == "wav2vec2" else "head"}


def test_a_network_whose_output_depends_on_its_batch_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lantu.notices, "_printed", set())
    built("wav2vec2", ["data.features=waveform", "model.config.feat_extract_norm=group"], bands=1)
    assert "Measure and predict with `data.batch_size=1`" in capsys.readouterr().err


def test_recordings_shorter_than_a_mask_of_frames_are_trained_on() -> None:
    net = built("wav2vec2", ["data.features=waveform", "model.config.mask_time_prob=0.5"], bands=1).train()
    logits = net({"features": torch.randn(2, 1, 400), "lengths": torch.tensor([400, 300])})["logits"]
    assert logits.shape[1] < net.net.config.mask_time_length
    assert logits.isfinite().all()
    assert net.net.config.apply_spec_augment
