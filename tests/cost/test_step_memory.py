"""The memory of a training step, counted on tensors without data."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lantu.cost.step_memory import Step, count_flops, largest, trace
from lantu.models import GPT
from lantu.models.activation_checkpointing import checkpoint_activations

LAYERS, CONTEXT, WIDTH, VOCABULARY = 4, 64, 96, 512


def step(blocks, *, checkpointing=False, kv_heads=4):
    net = GPT(VOCABULARY, CONTEXT, width=WIDTH, layers=blocks or LAYERS, heads=4, kv_heads=kv_heads)
    if checkpointing:
        checkpoint_activations(net)

    def loss(examples):
        ids = torch.zeros(examples, CONTEXT, dtype=torch.long)
        return F.cross_entropy(net(ids).flatten(0, 1), ids.flatten())

    return Step(net, torch.optim.AdamW(net.parameters()), loss)


@pytest.fixture(scope="module")
def counted():
    return trace(step, precision="32-true", repeats=LAYERS)


def allocated_at_the_peak(made, examples):
    """What torch's own CPU allocator says of a real step, above what there was before."""
    made.loss(2).backward()
    made.optimizer.step()
    made.optimizer.zero_grad()
    with torch.profiler.profile(profile_memory=True) as profile:
        made.loss(examples).backward()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_real_step_holds_what_was_counted_within_a_tenth(checkpointing):
    make = partial(step, checkpointing=checkpointing)
    counted = trace(make, precision="32-true", repeats=LAYERS)
    state = counted.weights + counted.optimizer
    for examples in (8, 40):
        real = allocated_at_the_peak(make(None), examples)
        assert counted.total(examples) - state == pytest.approx(real, rel=0.1)


@pytest.mark.slow
def test_blocks_continued_along_a_line_are_what_the_whole_network_has(counted):
    whole = trace(step, precision="32-true")
    assert counted.computing == pytest.approx(whole.computing, rel=1e-6)
    assert counted.weights == whole.weights
    assert counted.optimizer == pytest.approx(whole.optimizer, rel=1e-6)
    assert count_flops(step, repeats=LAYERS) == count_flops(step)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_flops_are_six_for_each_weight_and_token_and_twelve_for_each_pair_that_attends(kv_heads):
    make = partial(step, kv_heads=kv_heads)
    made = make(None)
    weights = sum(each.numel() for each in made.net.parameters() if each.ndim == 2)
    expected = CONTEXT * (6 * weights + 12 * LAYERS * WIDTH * CONTEXT)
    assert count_flops(make) == pytest.approx(expected, rel=0.02)


def test_the_largest_batch_fits_and_one_more_does_not():
    assert [largest(lambda number, most=most: number <= most) for most in (0, 1, 2, 71)] == [0, 1, 2, 71]


def test_sharding_splits_what_is_kept_and_not_what_is_computed(counted):
    state = counted.weights + counted.optimizer + counted.gradients
    many, few = (counted.total(4, devices=devices, sharded=True) for devices in (64, 2))
    assert few - many == pytest.approx(state / 2 - state / 64)


def test_activations_computed_again_change_no_loss_and_no_gradient_with_dropout():
    ids = torch.arange(128).reshape(2, 64)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = GPT(VOCABULARY, CONTEXT, width=32, layers=2, heads=2, dropout=0.2)
        if checkpointing:
            checkpoint_activations(net)
        torch.manual_seed(1)
        F.cross_entropy(net(ids).flatten(0, 1), ids.flatten()).backward()
        gradients.append([each.grad for each in net.parameters()])
        assert all("_checkpoint" not in name for name in net.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
