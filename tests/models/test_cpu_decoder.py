"""The step of one token on a CPU answers what the network's modules answer, or leaves the step to them."""

import pytest
import torch
from torch import nn

from lantu.models import cpu_decoder
from lantu.models.key_value_cache import KeyValueCache
from tests.models.test_gpt import EVERY_FORM, small


def steps(net, tokens, cache, *, prompt=3):
    """The logits after each token, of which the first few are read at once."""
    with torch.no_grad():
        return torch.cat(
            [net(part, cache) for part in tokens.split([prompt, *[1] * (tokens.shape[1] - prompt)], dim=1)], 1
        )


@EVERY_FORM
@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("options", [{}, {"boundary_id": 3}], ids=["one text", "documents"])
def test_the_logits_are_those_of_the_modules_before_and_after_matrices_are_transposed(form, rows, options, monkeypatch):
    monkeypatch.setattr(cpu_decoder, "OUTPUTS_AT_ONCE", 16)  # four products for the head
    net = small(form, context=40, **options)
    tokens = torch.randint(50, (rows, 40))
    cache = net.new_cache()
    assert isinstance(cache.decoder, cpu_decoder.CpuDecoder)
    found = steps(net, tokens, cache)
    expected = steps(net, tokens, KeyValueCache(2, 40))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


@EVERY_FORM
def test_matrices_with_many_outputs_are_copied_once_and_the_network_keeps_its_own(form):
    net = small(form)
    before = {name: (weight.data_ptr(), weight.stride()) for name, weight in net.named_parameters()}
    cache = net.new_cache()
    products = [cache.decoder._layers[0].up, cache.decoder._layers[0].mlp_out]
    steps(net, torch.randint(50, (1, 10)), cache)
    assert [cache.decoder._layers[0].up, cache.decoder._layers[0].mlp_out] == products  # not yet
    for _ in range(2):
        cache.length = 0
        steps(net, torch.randint(50, (1, 16)), cache)
    assert cache.decoder._layers[0].up.matrix.is_contiguous() == (products[0].matrix.shape[1] >= 64)
    assert cache.decoder._layers[0].mlp_out is products[1]
    assert before == {name: (weight.data_ptr(), weight.stride()) for name, weight in net.named_parameters()}


def hooked(net):
    net.blocks[1].mlp.up.register_forward_hook(lambda *_: None)


def replaced(net):
    class Adapted(nn.Linear):
        pass

    net.blocks[0].attention.qkv.__class__ = Adapted


@pytest.mark.parametrize("change", [hooked, replaced, nn.Module.bfloat16, lambda net: net.to("meta")])
def test_a_network_with_hooks_adapters_or_other_numbers_keeps_its_modules(change):
    net = small({})
    change(net)
    assert net.new_cache().decoder is None
    assert net.new_slots(2).decoder is None


def test_training_gradients_and_autocast_take_the_modules(monkeypatch):
    net, tokens = small({}, dropout=0.5), torch.randint(50, (2, 1))

    def refuse(*_):
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(cpu_decoder.CpuDecoder, "__call__", refuse)
    assert net(tokens, net.new_cache()).requires_grad
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            net(tokens, net.new_cache())
        assert net(tokens, net.new_cache(), logits=False).shape == (2, 1, 32)
        with pytest.raises(AssertionError, match="was called"):
            net(tokens, net.new_cache())
        net.train()
        net(tokens, net.new_cache())
