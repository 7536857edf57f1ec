"""What every network for speech recognition promises, whatever it is built of."""

import pytest
import torch

import lantu
from lantu.cli.catalog import fits
from lantu.config.build import build
from lantu.config.composing import compose

VARIANTS = {
    "ctc": [[], ["model.recurrent=true"], ["model.causal=true"]],
    "ctc_cnn": [[], ["model.halvings=2", "model.limited_sharing=true"]],
    "wav2vec2": [["data.features=waveform"]],
}
CASES = [(model, extra) for model in fits()["speech_folder"] for extra in VARIANTS.get(model, [[]])]


def built(model: str, extra: list[str], *, bands: int) -> torch.nn.Module:
    cfg = compose("data=speech_folder", "data.path=none", f"model={model}", *extra).cfg
    cfg.spec.bands, cfg.spec.outputs = bands, 12
    torch.manual_seed(0)
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
