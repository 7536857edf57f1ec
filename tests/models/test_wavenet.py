"""WaveNet: causal, the same in stretches and at once, and generated alike by queues and the naive way."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from lantu.models.text_frames import best_durations
from lantu.models.wavenet import SILENCE, WaveNet, mixture_log_probs
from lantu.models.wavenet_generation import cached_logits, generate

HOP = 8


@pytest.fixture(params=["characters", "mels", "none", "logistics"])
def net(request: pytest.FixtureRequest) -> WaveNet:
    return made("mels", output="logistics") if request.param == "logistics" else made(request.param)


def made(condition: str, **options: str) -> WaveNet:
    torch.manual_seed(0)
    small = WaveNet(
        HOP,
        5,
        7,
        2,
        condition=condition,
        channels=6,
        skip=9,
        layers=5,
        dilations=3,
        width=10,
        **options,  # type: ignore[arg-type]
    ).eval()
    torch.nn.init.normal_(small.head.weight)  # an untrained network's choices hardly depend on anything
    return small


def batch(frames: int = 12) -> dict[str, Tensor]:
    """Two recordings, the second one shorter."""
    draw = torch.Generator().manual_seed(1)
    lengths = torch.tensor([frames, frames - 3])
    return {
        "codes": torch.randint(0, 256, (2, frames * HOP), generator=draw),
        "begin": torch.zeros(2, dtype=torch.long), "ends": lengths * HOP, "scored": lengths * HOP, "lengths": lengths,
        "mels": torch.randn(2, 5, frames, generator=draw), "speaker": torch.tensor([0, 1]),
        "tokens": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]]), "token_lengths": torch.tensor([4, 3]),
    }  # fmt: skip


def cond_of(net: WaveNet) -> Tensor | None:
    """What conditions twelve frames of two recordings."""
    frames = torch.randn(2, 10, 12, generator=torch.Generator().manual_seed(4))
    return net.conditioning(None if net.condition == "none" else frames, torch.tensor([0, 1]))


def naive_logits(net: WaveNet, cond: Tensor | None, codes: Tensor) -> Tensor:
    before = torch.cat([torch.full_like(codes[:, :1], SILENCE), codes[:, :-1]], dim=1)
    return net.logits(before, cond).transpose(0, 1)


def test_a_mixture_of_logistics_is_the_integral_of_its_density_over_each_code() -> None:
    outputs = torch.tensor([0.3, -0.7, 0.1, -0.9, 0.2, 1.1, -2.0, -4.5, -0.5])  # weights, means, log scales of three
    weights, means, scales = outputs[:3].double().softmax(0), outputs[3:6].double(), outputs[6:].double().exp()
    fine = torch.linspace(-12, 12, 600_001, dtype=torch.float64)
    z = (fine[:, None] - means) / scales
    density = (weights * torch.exp(-z.abs()) / (scales * (1 + torch.exp(-z.abs())) ** 2)).sum(1)
    codes = ((fine * 255 + 255) / 2).round().clamp(0, 255).long()
    expected = torch.zeros(256, dtype=torch.float64).index_add_(0, codes, density * (fine[1] - fine[0]))
    found = mixture_log_probs(outputs).double().exp()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-6)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    some = torch.tensor([0, 17, 255])
    torch.testing.assert_close(mixture_log_probs(outputs, some), mixture_log_probs(outputs)[some])


def test_a_mixture_has_gradients_however_far_a_sample_is_from_every_mean() -> None:
    outputs = torch.tensor([0.0, -1.0, -7.0], requires_grad=True)
    mixture_log_probs(outputs, torch.tensor([255])).sum().backward()
    assert outputs.grad is not None
    assert float(outputs.grad[1]) > 100


@pytest.mark.parametrize("fused", [True, False])
def test_cached_queues_give_the_logits_of_the_naive_way(net: WaveNet, fused: bool) -> None:
    if fused:
        pytest.importorskip("numba", reason="the fused step needs numba, which is not installed")
    cond, codes = cond_of(net), batch()["codes"]
    with torch.inference_mode():
        torch.testing.assert_close(
            cached_logits(net, cond, codes, fused=fused), naive_logits(net, cond, codes), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_cached_queues_draw_the_samples_of_the_naive_way(fused: bool, temperature: float) -> None:
    if fused:
        pytest.importorskip("numba", reason="the fused step needs numba, which is not installed")
    net, frames = made("mels"), 5
    own = batch(frames)
    uniform = torch.rand(2, frames * HOP, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.inference_mode():
        cond = net.conditioning(net.frames_of(own), own["speaker"])
        codes = torch.full((2, frames * HOP), SILENCE)
        for time in range(frames * HOP):  # the whole network for every sample
            probabilities = naive_logits(net, cond, codes)[:, time].double()
            if temperature:
                cumulative = (probabilities / temperature).softmax(-1).cumsum(-1)
                codes[:, time] = (cumulative <= uniform[:, time, None]).sum(-1)
            else:
                codes[:, time] = probabilities.argmax(-1)
    assert len(codes.unique()) > (5 if temperature else 1)
    assert torch.equal(generate(net, cond, uniform, temperature=temperature, fused=fused), codes)


def test_a_sample_depends_on_those_before_it_alone_and_on_no_more_than_the_field(net: WaveNet) -> None:
    cond, codes = cond_of(net), batch()["codes"]
    changed = codes.clone()
    changed[:, 40] = (changed[:, 40] + 100) % 256
    with torch.inference_mode():
        apart = (naive_logits(net, cond, codes) - naive_logits(net, cond, changed)).abs().amax((0, 2)) > 0
    assert not apart[:41].any()
    assert apart[41]
    assert not apart[40 + net.field + 1 :].any()


def test_evaluation_in_parts_scores_as_the_whole_recording_at_once(
    net: WaveNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = batch()
    with torch.inference_mode():
        whole = net(own)["nats"]
        monkeypatch.setattr("lantu.models.wavenet.CHUNK_FRAMES", 5)
        torch.testing.assert_close(net(own)["nats"], whole, rtol=1e-4, atol=1e-3)


def test_a_stretch_with_its_context_scores_as_within_the_whole_recording(net: WaveNet) -> None:
    own, first = batch(), 9
    begin = first - net.context_frames
    assert begin > 0
    part = {
        **own, "begin": torch.full((2,), begin), "codes": own["codes"][:, begin * HOP :],
        "ends": own["ends"] - begin * HOP, "scored": own["ends"] - first * HOP,
    }  # fmt: skip
    until = {**own, "codes": own["codes"][:, : first * HOP], "scored": torch.full((2,), first * HOP)}
    until["ends"] = until["scored"]
    with torch.inference_mode():
        before, all_of_it = net(until)["nats"], net(own)["nats"]
        torch.testing.assert_close(before + net(part)["nats"], all_of_it, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("condition", ["characters", "mels"])
def test_a_recording_has_the_same_likelihood_alone_and_in_a_padded_batch(condition: str) -> None:
    net, own = made(condition), batch()
    length = int(own["lengths"][1])
    alone = {name: value[1:] for name, value in own.items()}
    alone |= {"codes": alone["codes"][:, : length * HOP], "mels": alone["mels"][:, :, :length]}
    alone["tokens"] = alone["tokens"][:, :3]
    with torch.inference_mode():
        together, apart = net(own), net(alone)
    for name, value in apart.items():
        torch.testing.assert_close(together[name][1:], value, rtol=1e-4, atol=1e-4, msg=name)


def test_the_alignment_is_the_likeliest_monotonic_one() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 9))

    def score(durations: tuple[int, ...]) -> float:
        states = np.repeat(np.arange(4), durations)
        return float(scores[states, np.arange(9)].sum())

    every = [each for each in itertools.product(range(1, 7), repeat=4) if sum(each) == 9]
    assert tuple(best_durations(scores)) == max(every, key=score)


def test_text_becomes_as_many_frames_as_its_predicted_durations() -> None:
    net = made("characters")
    assert net.text is not None
    frames, total = net.text.from_text(torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([4, 2]))
    assert frames.shape[2] == int(total.max())
    assert (total >= torch.tensor([4, 2])).all()
    assert not frames[1, :, int(total[1]) :].any()
