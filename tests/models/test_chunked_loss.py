"""The loss of some tokens at a time is the loss of all, and so are its gradients."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lantu
from lantu.errors import UserError
from lantu.models import GPT
from lantu.models.chunked_loss import linear_cross_entropy
from lantu.tasks import LanguageModeling


def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    y = torch.randint(50, (37,))
    y[3:6] = -100  # nothing is to be predicted
    return torch.randn(37, 16, requires_grad=True), torch.randn(50, 16, requires_grad=True), y


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 10, 37, 100])
def test_it_is_the_plain_loss_with_its_gradients(chunk: int, smoothing: float) -> None:
    x, weight, y = parts()
    plain = F.cross_entropy(x @ weight.T, y, label_smoothing=smoothing)
    ours = linear_cross_entropy(x, weight, y, label_smoothing=smoothing, chunk=chunk)
    torch.testing.assert_close(ours, plain)
    expected, got = (torch.autograd.grad(3 * loss, (x, weight)) for loss in (plain, ours))
    torch.testing.assert_close(got, expected)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(x, weight, y, label_smoothing=smoothing, chunk=chunk), plain)


def test_in_bfloat16_it_is_at_least_as_close_to_the_exact_gradients_as_the_plain_one() -> None:
    x, weight, y = parts()
    exact = torch.autograd.grad(F.cross_entropy(x.double() @ weight.double().T, y), (x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        plain = torch.autograd.grad(F.cross_entropy((x @ weight.T).float(), y), (x, weight))
        ours = torch.autograd.grad(linear_cross_entropy(x, weight, y, chunk=10), (x, weight))
    for a, b, c in zip(exact, plain, ours, strict=True):
        assert (c - a).norm() <= (b - a).norm() * 1.05


def test_a_frozen_last_layer_gets_no_gradient() -> None:
    x, weight, y = parts()
    linear_cross_entropy(x, weight.detach(), y, chunk=10).backward()
    assert x.grad is not None
    assert weight.grad is None


def test_a_batch_without_targets_has_no_mean_and_moves_nothing() -> None:
    x, weight, _ = parts()
    loss = linear_cross_entropy(x, weight, torch.full((37,), -100), chunk=10)
    loss.backward()
    assert loss.isnan()
    assert x.grad is not None
    assert not x.grad.any()


def test_a_run_has_the_same_losses_by_one_override(train: Callable[..., lantu.Result], mirror: object) -> None:
    asked = ("data=tiny_shakespeare", "model=gpt", "model.layers=1", "data.context=16", "logger=none", "trainer=cpu")
    short = ("trainer.max_steps=4", "trainer.limit_val_batches=2", "test=false", "trainer.enable_progress_bar=false")
    plain, ours = (
        train(*asked, *short, f"paths.mirror={mirror}", f"task.chunked_loss={on}").metrics for on in ("false", "true")
    )
    for name in ("train/loss", "val/loss", "val/bits_per_byte"):
        assert ours[name] == pytest.approx(plain[name], rel=1e-5), name


def test_a_network_that_keeps_its_last_layer_to_itself_is_refused() -> None:
    with pytest.raises(UserError, match=r"task.chunked_loss=true.*Embedding does not: choose `model=gpt`"):
        LanguageModeling(nn.Embedding(5, 5), bytes_per_token=1.0, context=3, chunked_loss=True)


def test_what_the_last_layer_makes_logits_of_is_given_on_demand() -> None:
    net, tokens = GPT(20, 8, width=16, layers=1, heads=2), torch.randint(20, (2, 8))
    torch.testing.assert_close(net.head(net(tokens, logits=False)), net(tokens))
