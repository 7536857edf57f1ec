"""Muon in batches does what timm's Muon does matrix by matrix, in the arithmetic that the processor has."""

from typing import Any

import pytest
import timm.optim
import torch
from timm.optim.muon import _COEFFICIENTS, resolve_ns_coefficients, zeropower_via_newtonschulz
from torch import nn

from lantu.models import GPT
from lantu.optim import parameter_groups
from lantu.optim.muon import Muon

NS_COEFFICIENTS = resolve_ns_coefficients("quintic", _COEFFICIENTS)
OPTIONS: dict[str, Any] = {"lr": 3e-3, "weight_decay": 0.1, "momentum": 0.95, "betas": (0.9, 0.95)}


def trained(make: Any, *, steps: int = 4, **options: Any) -> tuple[GPT, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = GPT(20, 8, width=16, layers=3, heads=2)
    optimizer = make(parameter_groups(net), **OPTIONS, **options)
    tokens = torch.randint(20, (4, 8))
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize("options", [{}, {"nesterov": False}, {"adjust_lr_fn": "original"}], ids=str)
def test_a_batch_of_matrices_is_updated_as_each_by_itself(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr("lantu.optim.muon.cpu_has_bf16", lambda: True)  # as timm's, which always computes in bf16
    batched, _ = trained(Muon, batched=True, **options)
    single, _ = trained(timm.optim.Muon, **options)
    for name, weight in single.state_dict().items():
        torch.testing.assert_close(batched.state_dict()[name], weight, rtol=0.02, atol=2e-4, msg=name)  # bf16


def test_on_a_cpu_with_bf16_every_bit_is_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lantu.optim.muon.cpu_has_bf16", lambda: True)
    ours, theirs = trained(Muon)[0].state_dict(), trained(timm.optim.Muon)[0].state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


@pytest.mark.parametrize("has_bf16", [False, None])
@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (4, 3, 3, 3)], ids=str)
def test_on_a_cpu_without_bf16_orthogonalisation_is_in_float32(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool | None, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr("lantu.optim.muon.cpu_has_bf16", lambda: has_bf16)
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    optimizer = Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0, adjust_lr_fn=None)
    for _ in range(2):  # timm takes the first step, in which it decides what Muon updates
        weight.grad = torch.randn(shape, generator=generator)
        before = weight.detach().clone()
        optimizer.step()
    assert weight.grad is not None
    exact = zeropower_via_newtonschulz(weight.grad.double().flatten(1), 5, NS_COEFFICIENTS, dtype=torch.float64)
    torch.testing.assert_close((before - weight).flatten(1), exact.float(), rtol=1e-4, atol=1e-5)


def test_its_state_is_timms_so_checkpoints_go_on() -> None:
    _, batched = trained(Muon, batched=True)
    net, theirs = trained(timm.optim.Muon)
    ours, expected = batched.state_dict()["state"], theirs.state_dict()["state"]
    assert {n: sorted(state) for n, state in ours.items()} == {n: sorted(state) for n, state in expected.items()}
    fresh = Muon(parameter_groups(net), **OPTIONS, batched=True)
    fresh.load_state_dict(theirs.state_dict())
    fresh.step()


def test_gradients_are_still_there_after_the_step() -> None:
    net, _ = trained(Muon, batched=True)
    assert all(weight.grad is not None for weight in net.parameters())
