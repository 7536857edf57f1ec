"""Write on from given tokens: sampling, and the loop that any language model can be put into."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lantu.errors import UserError

NOTHING = -1
"""Stands for no token, in sequences that have ended before others of their batch, or whose prompt is still read."""


@torch.no_grad()
def generate(
    net: nn.Module,
    tokens: Tensor,
    *,
    new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    lengths: Tensor | None = None,
    ended: Tensor | None = None,
    context: int | None = None,
    use_cache: bool = True,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """The tokens that follow, as they are drawn: (N,) int64 at a time.

    Prompts of different lengths are read side by side from their beginnings, and the shorter ones go on with their own
    tokens while the longer ones are still read. So nothing is filled in that a network would have to be kept from
    seeing, and every sequence is written as if it were alone, by any network, with or without a cache.

    Networks with a `new_cache` read every token once. When a limited context is full, its last half is read again. The
    network is used in the mode it is in; call `net.eval()` first unless dropout is wanted.

    Args:
        net: tokens (N, T) -> logits (N, T, V).
        tokens: to continue, (N, T), T at least 1.
        new_tokens: the most tokens that are drawn for each sequence.
        temperature: flattens (above 1) or sharpens the distribution; 0 takes the likeliest token.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the likeliest tokens that hold this probability together (Holtzman et al. 2020).
        repetition_penalty: above 1 makes tokens that were read or drawn less likely (Keskar et al. 2019).
        lengths: (N,), how many of the T tokens are each sequence's own, at most the context; None: all.
        ended: (N,) bool, sequences of which nothing more is wanted; the caller may set more of them on the way. When
            all are, the generation ends.
        context: the most tokens that a network takes which has no `context` of its own; None: no limit.
        use_cache: False reads everything again for every token; for comparison.
        generator: of random numbers, on the device of `tokens`; None: torch's own.

    Raises:
        UserError: an option is out of its range.
    """
    check_sampling(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty)
    context = getattr(net, "context", context)
    new_cache: Callable[[], Any] | None = getattr(net, "new_cache", None) if use_cache else None
    cache = new_cache() if new_cache else None
    # `net(...)` of a compiled network calls its compiled form, which torch translates anew for each length of a text:
    # minutes for a sentence. `_call_impl` is what `net(...)` calls otherwise, with all hooks.
    answer = net._call_impl
    start = max(tokens.shape[1] - context, 0) if context else 0
    read = 0
    may_end_early = ended is not None  # else nobody looks, as a look makes the host wait for a GPU
    if ended is None:
        ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    if lengths is None:
        lengths = torch.full((len(tokens),), tokens.shape[1], device=tokens.device)
    prompts, lasts = tokens, lengths + new_tokens
    tokens = prompts[:, : int(lengths.min())]
    seen: Tensor | None = None
    for place in range(tokens.shape[1], int(lasts.max())):
        if context and tokens.shape[1] - start > context:  # full: go on with the last half
            start, read = tokens.shape[1] - max(context // 2, 1), 0
            cache = new_cache() if new_cache else None
        if cache is None:
            logits = answer(tokens[:, start:])[:, -1].float()
        else:
            logits = answer(tokens[:, start + read :], cache)[:, -1].float()
            read = tokens.shape[1] - start
        if repetition_penalty != 1:
            seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
            seen = seen.scatter(1, tokens, True)
            logits = torch.where(seen, _less_likely(logits, repetition_penalty), logits)
        drawn = draw(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        reading = place < lengths
        if place < prompts.shape[1]:
            drawn = torch.where(reading, prompts[:, place], drawn)
        tokens = torch.cat((tokens, drawn[:, None]), dim=1)
        yield drawn.masked_fill(ended | reading, NOTHING)
        ended |= place + 1 >= lasts
        if may_end_early and bool(ended.all()):
            return


def draw(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token (N,) from each row of logits (N, V)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        falling, order = logits.sort(dim=-1, descending=True)
        probabilities = falling.softmax(dim=-1)
        beyond = probabilities.cumsum(dim=-1) - probabilities >= top_p  # the mass before a token already suffices
        logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]


def check_sampling(
    *, temperature: float, top_k: int | None, top_p: float | None, repetition_penalty: float = 1.0
) -> None:
    """Refuse options that no distribution has."""
    if not 0 <= temperature < float("inf"):
        raise UserError(f"`temperature={temperature}`: it is 0 (always the likeliest token) or more, usually up to 1.")
    if top_k is not None and top_k < 1:
        raise UserError(f"`top_k={top_k}`: draw from at least 1 token, or from all with `top_k=null`.")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"`top_p={top_p}`: a probability above 0, up to 1.")
    if not repetition_penalty > 0:
        raise UserError(f"`repetition_penalty={repetition_penalty}`: above 0; 1 changes nothing.")


def _less_likely(logits: Tensor, penalty: float) -> Tensor:
    return torch.where(logits > 0, logits / penalty, logits * penalty)
