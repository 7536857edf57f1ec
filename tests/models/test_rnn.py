"""Recurrent networks: padding, directions, dropout, carried state."""

import pytest
import torch
from torch import nn

from lantu.errors import UserError
from lantu.models import RNN
from lantu.models.recurrent_layers import unroll
from lantu.models.rnn import CELLS, POOLS

EVERY_CELL = pytest.mark.parametrize("cell", list(CELLS))


def texts(vocabulary: int = 30, lengths: tuple[int, ...] = (9, 4, 1)) -> torch.Tensor:
    torch.manual_seed(1)
    tokens = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in zip(tokens, lengths, strict=True):
        row[:length] = torch.randint(1, vocabulary, (length,))
    return tokens


@EVERY_CELL
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pool", POOLS)
def test_padding_does_not_change_a_texts_answer(cell, bidirectional, pool):
    net = RNN(30, 4, cell=cell, bidirectional=bidirectional, pool=pool, layers=2, pad_id=0)
    tokens = texts()
    together = net(tokens)
    assert together.shape == (3, 4)
    for row, answer in zip(tokens, together, strict=True):
        torch.testing.assert_close(net(row[row > 0][None])[0], answer)
    torch.testing.assert_close(net(torch.cat((tokens, torch.zeros(3, 5, dtype=torch.long)), dim=1)), together)


@EVERY_CELL
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_does_not_change_what_is_read_step_by_step(cell, bidirectional):
    layer = CELLS[cell](6, 5, batch_first=True, bidirectional=bidirectional)
    x, lengths = torch.randn(3, 9, 6), torch.tensor([9, 4, 1])
    out, _ = unroll(layer, x, lengths, None, dropout=0.0)
    for row, length in enumerate(lengths):
        alone, _ = layer(x[row : row + 1, :length])
        torch.testing.assert_close(out[row : row + 1, :length], alone)


@EVERY_CELL
@pytest.mark.parametrize("bidirectional", [False, True])
def test_step_by_step_without_dropout_is_torchs_own_layer(cell, bidirectional):
    layer = CELLS[cell](6, 5, batch_first=True, bidirectional=bidirectional)
    x = torch.randn(3, 7, 6)
    before = layer(x)[1]  # some state to begin with
    for got, expected in zip(_flat(unroll(layer, x, None, before, dropout=0.0)), _flat(layer(x, before)), strict=True):
        torch.testing.assert_close(got, expected)


def _flat(answer):
    out, state = answer
    return [out, *(state if isinstance(state, tuple) else (state,))]


def test_a_text_of_padding_alone_gets_a_finite_answer():
    for pool in POOLS:
        assert RNN(30, 4, pool=pool, bidirectional=True, pad_id=0)(torch.zeros(2, 3, dtype=torch.long)).isfinite().all()


@EVERY_CELL
def test_a_language_model_does_not_see_the_tokens_that_it_predicts(cell):
    net = RNN(20, 20, cell=cell, layers=2, per_token=True)
    tokens = torch.randint(20, (2, 8))
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 20
    before, after = net(tokens), net(changed)
    assert before.shape == (2, 8, 20)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@EVERY_CELL
def test_carried_state_continues_exactly(cell):
    net = RNN(20, 20, cell=cell, layers=2, per_token=True)
    tokens, cache = torch.randint(20, (3, 9)), net.new_cache()
    parts = [net(part, cache) for part in tokens.split([4, 1, 4], dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), net(tokens))


def test_detached_state_keeps_its_values_and_stops_the_gradient():
    net = RNN(20, 20, per_token=True)
    tokens, cache = torch.randint(20, (2, 6)), net.new_cache()
    net(tokens[:, :3], cache)
    cache.detach_()
    torch.testing.assert_close(net(tokens[:, 3:], cache), net(tokens)[:, 3:])
    cache = net.new_cache()
    net(tokens[:, :3], cache)
    hidden, _ = cache.states[0]
    hidden.retain_grad()
    cache.detach_()
    net(tokens[:, 3:], cache).sum().backward()
    assert hidden.grad is None


@EVERY_CELL
@pytest.mark.parametrize("options", [{"per_token": True}, {"bidirectional": True, "pool": "mean", "pad_id": 0}])
@pytest.mark.parametrize("recurrent_dropout", [0.0, 0.2])
def test_gradient_reaches_every_parameter(cell, options, recurrent_dropout):
    torch.manual_seed(0)
    net = RNN(12, 12, cell=cell, layers=2, dropout=0.1, recurrent_dropout=recurrent_dropout, **options)
    net(torch.randint(1, 12, (16, 10))).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_variational_dropout_drops_the_same_numbers_at_every_step_of_a_sequence():
    net = RNN(20, 20, dropout=0.5, per_token=True).train()
    dropped = net._drop(torch.ones(4, 50, 128)) == 0
    assert (dropped == dropped[:, :1]).all()
    assert 0.4 < dropped.float().mean() < 0.6
    assert not (dropped == dropped[:1]).all()  # sequences draw masks of their own
    net.variational = False
    dropped = net._drop(torch.ones(4, 50, 128)) == 0
    assert not (dropped == dropped[:, :1]).all()


@EVERY_CELL
def test_recurrent_dropout_cuts_the_same_numbers_of_the_state_at_every_step(cell):
    """A number of the state that is cut never reaches the others: changing its outgoing weights changes nothing."""
    layer = CELLS[cell](3, 40, batch_first=True)
    x = torch.randn(1, 12, 3)

    def read():
        torch.manual_seed(5)
        return unroll(layer, x, None, None, dropout=0.5)[0]

    before, cut = read(), []
    for number in range(40):
        kept = layer.weight_hh_l0.detach().clone()
        with torch.no_grad():
            layer.weight_hh_l0[:, number] += 1.0
        cut.append(torch.equal(read(), before))
        with torch.no_grad():
            layer.weight_hh_l0.copy_(kept)
    assert 8 <= sum(cut) <= 32


def test_word_dropout_drops_a_word_at_all_its_places_or_at_none():
    net = RNN(50, 3, word_dropout=0.5, pad_id=0).train()
    tokens = torch.arange(1, 50).repeat(2, 4)
    dropped = (net._embed(tokens) == 0).all(dim=-1).view(2, 4, 49)
    assert (dropped == dropped[:, :1]).all()
    assert 0.3 < dropped.float().mean() < 0.7
    assert not torch.equal(dropped[0], dropped[1])


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout", "word_dropout"])
def test_dropout_acts_in_training_and_at_test_only_if_asked(option):
    tokens = torch.randint(1, 30, (4, 8))
    net = RNN(30, 3, pad_id=0, **{option: 0.5})
    assert not torch.equal(net(tokens), net(tokens))
    net.eval()
    assert torch.equal(net(tokens), net(tokens))
    net.mc_dropout = True
    assert not torch.equal(net(tokens), net(tokens))


def test_dropout_keeps_the_mean():
    net = RNN(30, 3, dropout=0.3, word_dropout=0.3).train()
    torch.manual_seed(0)
    assert net._drop(torch.ones(500, 3, 128)).mean() == pytest.approx(1, abs=0.02)
    nn.init.ones_(net.embedding.weight)
    assert net._embed(torch.arange(30).repeat(500, 1)).mean().item() == pytest.approx(1, abs=0.02)


def test_tied_weights_are_one_tensor():
    net = RNN(30, 30, embedding=16, hidden=16, per_token=True, tied=True)
    assert net.head.weight is net.embedding.weight


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cell": "gruu"}, r"model\.cell=gruu.*rnn, lstm, gru"),
        ({"pool": "sum"}, r"model\.pool=sum"),
        ({"layers": 0}, r"model\.layers=0"),
        ({"bidirectional": True, "per_token": True}, r"model\.bidirectional=true"),
        ({"dropout": 1.0}, r"model\.dropout=1"),
        ({"recurrent_dropout": -0.1}, r"model\.recurrent_dropout=-0\.1"),
        ({"word_dropout": 2}, r"model\.word_dropout=2"),
        ({"tied": True}, r"model\.tied=true"),
        ({"tied": True, "per_token": True, "hidden": 64}, r"model\.hidden=64.*model\.embedding=128"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(options, sentence):
    with pytest.raises(UserError, match=sentence):
        RNN(30, 30, **options)
