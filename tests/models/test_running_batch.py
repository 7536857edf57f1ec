"""Sequences that join and leave a running batch get the tokens that they get alone."""

from typing import Any

import pytest
import torch

from lantu.errors import UserError
from lantu.models.generate import generate
from lantu.models.running_batch import RunningBatch, Sequence
from tests.models.test_generate import gpt, rnn

NETWORKS = {
    "rope": gpt,
    "grouped queries": lambda: gpt(kv_heads=2, qk_norm=True),
    "learned positions": lambda: gpt(positions="learned", norm="layer", mlp="gelu", bias=True),
    "documents": lambda: gpt(boundary_id=3),
    "documents with learned positions": lambda: gpt(positions="learned", boundary_id=3),
    "lstm": rnn,
    "gru": lambda: rnn("gru"),
}
# the length of the prompt, the tokens to write, the step at which the sequence joins
ASKED = [(3, 20, 0), (1, 4, 0), (16, 30, 1), (5, 1, 2), (21, 9, 2), (7, 25, 5), (2, 40, 6), (4, 3, 20), (9, 12, 21)]


def alone(net: Any, prompt: list[int], tokens: int, **options: Any) -> list[int]:
    drawn = generate(net, torch.tensor([prompt]), new_tokens=tokens, context=16, **options)
    return [int(each) for each in drawn]


def together(net: Any, prompts: list[list[int]], *, rows: int, **options: Any) -> list[list[int]]:
    """What each sequence gets in a batch of so many rows, which it joins at its step or when a row is free."""
    batch = RunningBatch(net, rows=rows, context=16)
    coming = [
        (step, Sequence([*prompt], **{name: make(number) for name, make in options.items()}), number)
        for number, (prompt, (_, _, step)) in enumerate(zip(prompts, ASKED, strict=True))
    ]
    numbers, found, steps = {}, [[] for _ in prompts], 0
    while coming or len(batch):
        while coming and coming[0][0] <= steps and not batch.full:
            _, sequence, number = coming.pop(0)
            numbers[sequence] = number
            batch.join(sequence)
        for sequence, token in batch.step():
            number = numbers[sequence]
            found[number].append(token)
            if len(found[number]) == ASKED[number][1]:
                batch.leave(sequence)
        steps += 1
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_each_sequence_gets_the_tokens_that_it_gets_alone_whenever_it_joins(name: str) -> None:
    net = NETWORKS[name]()
    torch.manual_seed(1)
    prompts = [torch.randint(0, 30, (length,)).tolist() for length, _, _ in ASKED]
    expected = [
        alone(net, prompt, tokens, temperature=0) for prompt, (_, tokens, _) in zip(prompts, ASKED, strict=True)
    ]
    for rows in (1, 3, 16):
        assert together(net, prompts, rows=rows, temperature=lambda _: 0) == expected


def test_a_sequence_with_a_generator_of_its_own_draws_what_it_draws_alone() -> None:
    net = gpt()
    prompts = [[number + 1] * length for number, (length, _, _) in enumerate(ASKED)]
    sampling: dict[str, Any] = {"temperature": 0.8, "top_k": 9, "top_p": 0.95, "repetition_penalty": 1.3}
    expected = [
        alone(net, prompt, tokens, generator=torch.Generator().manual_seed(number), **sampling)
        for number, (prompt, (_, tokens, _)) in enumerate(zip(prompts, ASKED, strict=True))
    ]
    options = {name: (lambda _, value=value: value) for name, value in sampling.items()}
    options["generator"] = lambda number: torch.Generator().manual_seed(number)
    assert together(net, prompts, rows=4, **options) == expected


def test_a_step_reads_one_token_of_each_sequence_however_long_they_are() -> None:
    net, read = gpt(), []
    net.register_forward_pre_hook(lambda _, given: read.append(tuple(given[0].shape)))
    batch = RunningBatch(net, rows=4)
    for length in (3, 9, 14):
        batch.join(Sequence([1] * length, temperature=0))
    for _ in range(3):
        batch.step()
    assert read == [(1, 3), (1, 9), (1, 14), (3, 1), (3, 1)]


def test_a_wrong_option_is_refused_before_the_sequence_joins() -> None:
    with pytest.raises(UserError, match="top_p"):
        Sequence([1], top_p=2.0)
