"""Initial weights have the variance that their papers say."""

from functools import partial

import pytest
import torch
from torch import nn

from lantu.optim import he, orthogonal, xavier


def test_he_gives_linear_and_convolution_variance_two_over_fan_in():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 64, 3), nn.Linear(512, 256), nn.ConvTranspose2d(64, 16, 3))
    he(net)
    assert net[0].weight.var().item() == pytest.approx(2 / (16 * 9), rel=0.05)
    assert net[1].weight.var().item() == pytest.approx(2 / 512, rel=0.05)
    assert net[2].weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)


def test_he_keeps_the_size_of_activations_through_twenty_rectified_layers():
    torch.manual_seed(0)
    net = nn.Sequential(*[layer for _ in range(20) for layer in (nn.Linear(256, 256), nn.ReLU())])
    he(net)
    x = torch.randn(512, 256)
    assert net(x).square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.5)


def test_xavier_gives_variance_two_over_fan_in_and_fan_out():
    torch.manual_seed(0)
    layer = nn.Linear(600, 200)
    xavier(layer, gain=2.0)
    assert layer.weight.var().item() == pytest.approx(4 * 2 / 800, rel=0.05)


def test_orthogonal_keeps_lengths_in_every_gate_of_an_lstm():
    lstm = nn.LSTM(32, 32)
    orthogonal(lstm)
    for gate in lstm.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(32), atol=1e-5, rtol=0)


@pytest.mark.parametrize("initialise", [he, xavier, orthogonal, partial(he, nonlinearity="tanh")])
def test_biases_become_zero_and_embeddings_and_norms_stay(initialise):
    net = nn.Sequential(nn.Embedding(5, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.GRU(8, 8))
    kept = [net[0].weight.detach().clone(), net[1].weight.detach().clone()]
    weight = net[2].weight.detach().clone()
    initialise(net)
    assert torch.equal(net[0].weight, kept[0])
    assert torch.equal(net[1].weight, kept[1])
    assert not torch.equal(net[2].weight, weight)
    for name, parameter in [*net[2].named_parameters(), *net[3].named_parameters()]:
        if "bias" in name:
            assert parameter.abs().sum() == 0
