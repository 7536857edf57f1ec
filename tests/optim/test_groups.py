"""Parameter groups, the L1 penalty, and the optimizers of the catalogue on them."""

from pathlib import Path

import pytest
import timm
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from lantu.models import CNN
from lantu.optim import l1_norm, parameter_groups

CONF = Path(__file__).resolve().parents[2] / "conf" / "optimizer"
OPTIMIZERS = sorted(file.stem for file in CONF.glob("*.yaml"))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 8))
        self.head = nn.Linear(8, 11)

    def forward(self, tokens):
        return self.head(self.body(self.embedding(tokens)))


def optimizer_of(name, net, **options):
    return instantiate(OmegaConf.load(CONF / f"{name}.yaml"), _convert_="all", **options)(parameter_groups(net))


def test_matrices_decay_and_biases_and_norms_do_not():
    groups = parameter_groups(Tagger(), 0.1)
    for group in groups:
        matrices = {parameter.ndim >= 2 for parameter in group["params"]}
        assert matrices == {group["weight_decay"] > 0}


def test_decay_all_leaves_nothing_out():
    assert {group["weight_decay"] for group in parameter_groups(Tagger(), 0.1, decay="all")} == {0.1}


def test_every_trainable_parameter_is_in_one_group():
    net = Tagger()
    net.head.weight = net.embedding.weight  # tied weights count once
    net.body[0].bias.requires_grad_(False)
    grouped = [parameter for group in parameter_groups(net) for parameter in group["params"]]
    assert len({id(each) for each in grouped}) == len(grouped)
    assert {id(each) for each in grouped} == {id(each) for each in net.parameters() if each.requires_grad}


def test_without_a_number_the_optimizers_own_weight_decay_acts_on_matrices_only():
    optimizer = torch.optim.AdamW(parameter_groups(Tagger()), weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.3, 0.0]


@pytest.mark.parametrize("make", [Tagger, lambda: CNN(1, 3), lambda: timm.create_model("resnet18", num_classes=3)])
def test_embeddings_and_the_last_layer_are_kept_from_muon(make):
    net = make()
    fallback = {id(each) for group in parameter_groups(net) if group.get("use_fallback") for each in group["params"]}
    names = {name for name, each in net.named_parameters() if id(each) in fallback and each.ndim >= 2}
    assert names in ({"embedding.weight", "head.weight"}, {"head.weight"}, {"fc.weight"})


def test_l1_norm_is_the_sum_of_absolute_matrix_entries():
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.5]]))
    penalty = l1_norm(net)
    assert penalty.item() == 6.5
    penalty.backward()
    torch.testing.assert_close(net[0].weight.grad, net[0].weight.sign())
    assert net[0].bias.grad is None


def test_all_optimizers_are_here():
    assert set(OPTIMIZERS) >= {"sgd", "adam", "adamw", "lion", "muon", "rmsprop"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_every_parameter_and_lowers_the_loss(name):
    torch.manual_seed(0)
    net = Tagger()
    before = {key: value.clone() for key, value in net.named_parameters()}
    optimizer = optimizer_of(name, net)
    tokens = torch.randint(11, (32, 6))
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(net(tokens).flatten(0, 1), (tokens * 3 % 11).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert [key for key, value in net.named_parameters() if torch.equal(value, before[key])] == []


def test_muon_orthogonalises_hidden_matrices_and_uses_adamw_elsewhere():
    torch.manual_seed(0)
    net = Tagger()
    optimizer = optimizer_of("muon", net)
    before = net.body[0].weight.detach().clone()
    net(torch.randint(11, (32, 6))).square().mean().backward()
    optimizer.step()
    step = before * (1 - 3e-3 * 0.01) - net.body[0].weight.detach()
    # five of Newton and Schulz's steps bring all but the smallest singular values near one another
    assert _spread(net.body[0].weight.grad) > 20
    assert _spread(step) < 3
    assert "momentum_buffer" in optimizer.state[net.body[0].weight]
    for parameter in (net.embedding.weight, net.head.weight, net.head.bias, net.body[1].weight):
        assert "exp_avg_sq" in optimizer.state[parameter]


def _spread(matrix):
    spectrum = torch.linalg.svdvals(matrix)
    return spectrum[0] / spectrum[5]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_state_survives_saving_with_weights_only_loading(name, tmp_path):
    def step(net, optimizer):
        net(torch.arange(11).view(1, 11)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    torch.manual_seed(0)
    net, twin = Tagger(), Tagger()
    optimizer, other = optimizer_of(name, net), optimizer_of(name, twin)
    step(net, optimizer)
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "saved.pt")
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    twin.load_state_dict(saved["net"])
    other.load_state_dict(saved["optimizer"])
    step(net, optimizer)
    step(twin, other)
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
