"""fastText: the mean over n-grams, whatever the padding."""

import pytest
import torch

from lantu.errors import UserError
from lantu.models import FastText


def texts(*rows: list[int]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def test_padding_does_not_change_an_answer() -> None:
    torch.manual_seed(0)
    net = FastText(20, 3, ngrams=5, buckets=64, width=8).eval()
    row = [4, 5, 6, 7]
    alone = net(texts(row))
    assert torch.allclose(net(texts(row, list(range(1, 12))))[0], alone[0], atol=1e-6)
    assert torch.isfinite(net(torch.zeros(1, 3, dtype=torch.long))).all()


def test_a_text_of_t_tokens_has_its_tokens_and_every_longer_ngram_with_its_edges() -> None:
    net = FastText(20, 3, ngrams=3, buckets=1 << 20, width=8)
    numbers = net.numbers(texts([4, 5, 6, 7], [4]))
    found = numbers != 0
    assert found.sum(dim=1).tolist() == [4 + 5 + 4, 1 + 2 + 1]  # one token: _x, x_ and _x_
    assert numbers[0, :4].tolist() == [4, 5, 6, 7]
    assert (numbers[0][found[0]][4:] >= 20).all()


def test_an_ngram_has_the_same_vector_wherever_it_stands_and_order_matters() -> None:
    net = FastText(20, 3, ngrams=2, buckets=1 << 20, width=8)
    one, other, turned = (set(net.numbers(texts(row))[0].tolist()) for row in ([4, 5, 9], [8, 4, 5], [5, 4]))
    pair = (net.numbers(texts([4, 5]))[0].tolist())[3]  # after two tokens and the left edge
    assert pair in one & other
    assert pair not in turned


def test_an_answer_is_the_head_of_the_mean_vector() -> None:
    torch.manual_seed(0)
    net = FastText(20, 3, ngrams=3, buckets=64, width=8).eval()
    numbers = net.numbers(texts([4, 5, 6]))[0]
    mean = net.vectors.weight[numbers[numbers != 0]].mean(dim=0)
    assert torch.allclose(net(texts([4, 5, 6]))[0], net.head(mean), atol=1e-6)


def test_ngrams_are_dropped_in_training_only() -> None:
    torch.manual_seed(0)
    net = FastText(20, 3, ngrams=3, buckets=64, width=8, ngram_dropout=0.5)
    x = texts(list(range(1, 15)))
    assert not torch.allclose(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("option", ["ngrams=0", "buckets=0", "width=0", "dropout=1", "ngram_dropout=-1"])
def test_an_option_out_of_its_range_is_a_sentence(option: str) -> None:
    name, _, value = option.partition("=")
    with pytest.raises(UserError, match=name):
        FastText(20, 3, **{name: int(value)})  # type: ignore[arg-type]
