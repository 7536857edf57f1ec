"""Drawing tokens, and the loop around any language model."""

from collections import Counter

import pytest
import torch
from torch import nn

from lantu.errors import UserError
from lantu.models import GPT, RNN
from lantu.models.generate import NOTHING, draw, generate
from lantu.models.key_value_cache import FixedSlots


class Counting(nn.Module):
    """Expects the next number, modulo the vocabulary; forward(tokens) -> logits is all that it has."""

    def __init__(self, vocabulary: int = 7, context: int | None = None) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.limit = context
        self.lengths: list[int] = []

    def forward(self, tokens):
        assert self.limit is None or tokens.shape[1] <= self.limit
        self.lengths.append(tokens.shape[1])
        return 5.0 * nn.functional.one_hot((tokens + 1) % self.vocabulary, self.vocabulary).float()


def gpt(**options):
    torch.manual_seed(0)
    net = GPT(30, 16, width=32, layers=2, heads=4, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(8)
    return net.eval()


def rnn(cell="lstm"):
    torch.manual_seed(0)
    net = RNN(30, 30, cell=cell, layers=2, per_token=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(4)
    return net.eval()


def written(net, tokens, **options):
    return torch.stack(list(generate(net, tokens, **options)), dim=1)


def test_any_network_with_a_forward_can_write():
    found = written(Counting(), torch.tensor([[0, 1], [4, 5]]), new_tokens=4, temperature=0)
    assert found.tolist() == [[2, 3, 4, 5], [6, 0, 1, 2]]


NETS = {"GPT": gpt, "GPT with places": lambda: gpt(positions="learned"), "one key": lambda: gpt(kv_heads=1)} | {
    cell: lambda cell=cell: rnn(cell) for cell in ("rnn", "lstm", "gru")
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("prompt", [1, 16, 17, 40])
def test_the_cache_changes_nothing_but_the_speed_even_past_the_context(make, prompt):
    net, tokens = make(), torch.randint(30, (3, prompt))
    options = {"new_tokens": 28, "temperature": 0}
    found = written(net, tokens, **options)
    assert torch.equal(found, written(net, tokens, use_cache=False, **options))
    assert len(set(found.flatten().tolist())) > 1
    drawn = [
        written(net, tokens, new_tokens=28, use_cache=use, generator=torch.Generator().manual_seed(1))
        for use in (True, False)
    ]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("options", [{}, {"positions": "learned"}, {"kv_heads": 1}, {"boundary_id": 3}], ids=str)
@torch.inference_mode()
def test_steps_of_fixed_shape_give_the_logits_of_the_growing_cache(options):
    net, tokens = gpt(**options), torch.randint(30, (3, 16))
    cache = net.new_cache()
    net(tokens[:, :5], cache)
    slots = FixedSlots(cache)
    for _ in range(2):  # the second time over what the first has left
        for place in range(5, 16):
            found = net(tokens[:, place : place + 1], slots)
            expected = net(tokens[:, : place + 1])[:, -1:]
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        slots.load(cache)


def test_a_network_without_cache_is_given_at_most_its_context():
    net = Counting(context=8)
    found = written(net, torch.tensor([[3]]), new_tokens=30, temperature=0, context=8)
    assert found.tolist() == [[(4 + step) % 7 for step in range(30)]]
    assert max(net.lengths) == 8
    assert min(net.lengths[8:]) == 4  # half is kept when it is full


def test_a_sequence_of_a_batch_is_written_as_if_it_were_alone():
    net, tokens = gpt(), torch.randint(30, (4, 6))
    together = written(net, tokens, new_tokens=12, temperature=0)
    alone = [written(net, row[None], new_tokens=12, temperature=0) for row in tokens]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_prompts_of_different_lengths_are_continued_token_for_token_as_if_each_were_alone(make, use_cache):
    net, lengths = make(), torch.tensor([5, 1, 16, 9])
    prompts = torch.randint(30, (4, 16))
    for row, length in enumerate(lengths):
        prompts[row, length:] = 29  # what fills a row up must not be seen
    options = {"new_tokens": 20, "temperature": 0, "repetition_penalty": 1.3, "use_cache": use_cache}
    drawn = written(net, prompts, lengths=lengths, **options)
    for row, length in enumerate(lengths):
        alone = written(net, prompts[row : row + 1, :length], **options)
        assert [token for token in drawn[row].tolist() if token != NOTHING] == alone[0].tolist()


def test_the_caller_ends_sequences_and_all_together_end_the_writing():
    ended = torch.zeros(2, dtype=torch.bool)
    drawing = generate(Counting(), torch.tensor([[0], [3]]), new_tokens=9, temperature=0, ended=ended)
    assert next(drawing).tolist() == [1, 4]
    ended[1] = True
    assert next(drawing).tolist() == [2, NOTHING]
    ended[0] = True
    assert list(drawing) == []


def test_tokens_come_one_by_one_and_only_as_many_as_are_taken():
    net = Counting()
    tokens = generate(net, torch.tensor([[0]]), new_tokens=1000, temperature=0)
    assert [int(next(tokens)) for _ in range(3)] == [1, 2, 3]
    assert len(net.lengths) == 3


def shares(logits, **options):
    """How often each token is drawn."""
    generator = torch.Generator().manual_seed(0)
    drawn = draw(torch.tensor(logits).repeat(20_000, 1), generator=generator, **options)
    counts = Counter(drawn.tolist())
    return [counts[token] / 20_000 for token in range(len(logits))]


LOGITS = [0.0, 2.0, 1.0, -1.0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature):
    expected = (torch.tensor(LOGITS) / temperature).softmax(0).tolist()
    assert shares(LOGITS, temperature=temperature) == pytest.approx(expected, abs=0.012)


def test_temperature_0_takes_the_likeliest():
    assert shares(LOGITS, temperature=0) == [0, 1, 0, 0]


def test_top_k_leaves_the_k_likeliest_in_their_proportions():
    first, second = torch.tensor([2.0, 1.0]).softmax(0).tolist()
    assert shares(LOGITS, top_k=2) == pytest.approx([0, first, second, 0], abs=0.012)
    assert shares(LOGITS, top_k=1) == [0, 1, 0, 0]
    assert min(shares(LOGITS, top_k=99)) > 0


def test_top_p_leaves_the_fewest_tokens_that_hold_that_probability():
    # probabilities of LOGITS: 0.087, 0.644, 0.237, 0.032
    assert shares(LOGITS, top_p=0.6) == [0, 1, 0, 0]
    first, second = torch.tensor([2.0, 1.0]).softmax(0).tolist()
    assert shares(LOGITS, top_p=0.7) == pytest.approx([0, first, second, 0], abs=0.012)
    assert [share > 0 for share in shares(LOGITS, top_p=0.9)] == [True, True, True, False]
    assert min(shares(LOGITS, top_p=1.0)) > 0
    assert shares(LOGITS, top_p=1e-9) == [0, 1, 0, 0]


def test_each_row_is_drawn_from_its_own_logits_in_a_large_vocabulary():
    torch.manual_seed(0)
    expected = torch.randint(50_000, (5,))
    logits = torch.zeros(5, 50_000).scatter_(1, expected[:, None], 40.0)
    assert torch.equal(draw(logits), expected)


def test_logits_that_are_not_finite_draw_no_token():
    with pytest.raises(RuntimeError, match="not finite"):
        draw(torch.tensor([[0.0, 1.0], [0.0, float("nan")]]))


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits_of_tokens_seen():
    class Fixed(nn.Module):
        def forward(self, tokens):
            return torch.tensor([3.0, 2.0, -1.0, -1.5]).expand(*tokens.shape, 4)

    found = written(Fixed(), torch.tensor([[0], [1]]), new_tokens=3, temperature=0, repetition_penalty=2.0)
    # first row: 3/2 < 2, so token 1; then 3/2 > 2/2, so token 0 for good
    assert found.tolist() == [[1, 0, 0], [0, 0, 0]]
    strong = written(Fixed(), torch.tensor([[0]]), new_tokens=3, temperature=0, repetition_penalty=1000.0)
    assert strong.tolist() == [[1, 0, 0]]
    everything = torch.tensor([[0, 1, 2]])
    assert written(Fixed(), everything, new_tokens=1, temperature=0, repetition_penalty=1000.0).tolist() == [[0]]


def test_gradient_does_not_flow_and_the_mode_stays():
    net = gpt().train()
    assert not any(token.requires_grad for token in generate(net, torch.zeros(1, 1, dtype=torch.long), new_tokens=3))
    assert net.training


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -1.0}, "`temperature=-1.0`"),
        ({"temperature": float("nan")}, "`temperature=nan`"),
        ({"top_k": 0}, "`top_k=0`"),
        ({"top_p": 0.0}, "`top_p=0.0`"),
        ({"top_p": 1.5}, "`top_p=1.5`"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty=0.0`"),
        ({"repetition_penalty": float("inf")}, "`repetition_penalty=inf`"),
        ({"temperature": 1e-320}, "`temperature=1e-320`"),
        ({"temperature": "hot"}, "`temperature=hot`: it is a number"),
        ({"top_k": 1.5}, "`top_k=1.5`: it is a whole number"),
        ({"top_p": True}, "`top_p=True`: it is a number"),
    ],
)
def test_options_that_no_distribution_has_are_refused_in_a_sentence(options, sentence):
    with pytest.raises(UserError, match=sentence):
        list(generate(Counting(), torch.zeros(1, 1, dtype=torch.long), new_tokens=1, **options))


def test_a_compiled_network_writes_without_being_compiled_for_every_length():
    torch.manual_seed(0)
    net = GPT(vocab_size=7, context=8, width=16, layers=1, heads=2)
    prompt = torch.tensor([[1, 2, 3]])
    plain = list(generate(net, prompt, new_tokens=4, temperature=0))
    net._compiled_call_impl = lambda *_, **__: pytest.fail("the compiled form was called")  # as `net.compile()` sets it
    seen = []
    net.register_forward_hook(lambda *_: seen.append(1))
    written = list(generate(net, prompt, new_tokens=4, temperature=0))
    assert torch.equal(torch.stack(plain), torch.stack(written))
    assert seen, "hooks are called as ever"
