"""Generate tokens autoregressively, with any language model."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.graphed_step import GraphedStep, can_graph
from lantu.models.key_value_cache import KeyValueCache

NOTHING = -1
"""Stands for no token: the sequence has ended, or its prompt is still being read."""


@torch.inference_mode()
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
    """Generate tokens after a prompt; yields (N,) int64 at each step.

    Prompts of different lengths are aligned at their start. Shorter ones start to generate while longer ones are still
    being read. There is no padding and so no mask, and each sequence gets the same tokens as it would alone, with any
    network, with or without a cache.

    With a network that has `new_cache`, each token is read once. When the context is full, the last half of it is read
    again with an empty cache. On a GPU each step after the prompt is one CUDA graph (`lantu.models.graphed_step`). The
    network's mode is not changed; call `net.eval()` first unless dropout is wanted.

    Args:
        net: tokens (N, T) -> logits (N, T, V).
        tokens: prompts, (N, T), T at least 1.
        new_tokens: maximum number of tokens to generate for each sequence.
        temperature: above 1 flattens the distribution, below 1 sharpens it; 0 is greedy decoding.
        top_k: sample from the k most likely tokens only.
        top_p: nucleus sampling: from the most likely tokens with this total probability (Holtzman et al. 2020).
        repetition_penalty: above 1 makes tokens of the prompt and of the output less likely (Keskar et al. 2019).
        lengths: (N,), length of each prompt, at most the context; None: T.
        ended: (N,) bool, sequences that need no more tokens. The caller may set more of them during generation, which
            stops when all are set.
        context: maximum input length of a network without a `context` attribute; None: no limit.
        use_cache: False recomputes all tokens at every step, for comparison.
        generator: random number generator on the device of `tokens`; None: torch's default.

    Raises:
        UserError: an option is out of its range.
    """
    check_sampling(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty)
    context = getattr(net, "context", context)
    new_cache: Callable[[], Any] | None = getattr(net, "new_cache", None) if use_cache else None
    cache = new_cache() if new_cache else None
    is_graphed = can_graph(net, tokens, cache, new_tokens=new_tokens)
    step: GraphedStep | None = None
    # `net(...)` of a compiled network runs the compiled graph, which torch recompiles for each new length: minutes for
    # one sentence. `_call_impl` is the uncompiled call, with all hooks.
    answer = net._call_impl
    start = max(tokens.shape[1] - context, 0) if context else 0
    read = 0
    may_end_early = ended is not None  # otherwise do not check, because the check synchronises with the GPU
    all_draw = ended is None and lengths is None  # a token of every sequence at every step
    if ended is None:
        ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    lengths = torch.full((len(tokens),), tokens.shape[1], device=tokens.device) if lengths is None else lengths
    prompts, lasts = tokens, lengths + new_tokens
    tokens = prompts[:, : int(lengths.min())]
    seen: Tensor | None = None
    for place in range(tokens.shape[1], int(lasts.max())):
        if context and tokens.shape[1] - start > context:  # full: continue with the last half
            start, read = tokens.shape[1] - max(context // 2, 1), 0
            cache = cache.renewed() if isinstance(cache, KeyValueCache) else new_cache() if new_cache else None
        if cache is None:
            logits = answer(tokens[:, start:])[:, -1].float()
        elif is_graphed and cache.length and start + read + 1 == tokens.shape[1]:
            if step is None:
                step = GraphedStep(net, cache)
            elif step.cache is not cache:
                step.read(cache)
            logits = step(tokens[:, -1:])[:, -1].float()
            read += 1
        else:
            logits = answer(tokens[:, start + read :], cache)[:, -1].float()
            read = tokens.shape[1] - start
        if repetition_penalty != 1:
            seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
            seen = seen.scatter(1, tokens, True)
            logits = torch.where(seen, less_likely(logits, repetition_penalty), logits)
        drawn = draw(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
        if all_draw:
            tokens = torch.cat((tokens, drawn[:, None]), dim=1)
            yield drawn
            continue
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
    """Sample one token (N,) from each row of logits (N, V)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    if temperature != 1:
        logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        falling, order = logits.sort(dim=-1, descending=True)
        probabilities = falling.softmax(dim=-1)
        beyond = probabilities.cumsum(dim=-1) - probabilities >= top_p  # the tokens before it suffice
        logits = logits.masked_fill(beyond.scatter(1, order, beyond), -torch.inf)
    probabilities = logits.softmax(dim=-1)
    if probabilities.device.type != "cpu":
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    return _draw_on_cpu(probabilities, generator)


def _draw_on_cpu(probabilities: Tensor, generator: torch.Generator | None) -> Tensor:
    """Sample one token (N,) from each row of probabilities (N, V), by one random number a row.

    `torch.multinomial` draws one for every token: with a vocabulary of 50,000 ten times the time.
    """
    uniform_N1 = torch.rand(len(probabilities), 1, dtype=torch.float64, generator=generator)
    at_once = max(ELEMENTS_AT_ONCE // probabilities.shape[1], 1)
    if len(probabilities) <= at_once:
        return _find(probabilities, uniform_N1)
    parts = zip(probabilities.split(at_once), uniform_N1.split(at_once), strict=True)
    return torch.cat([_find(*part) for part in parts])


def _find(probabilities: Tensor, uniform_N1: Tensor) -> Tensor:
    """The first token of each row up to which more than this share (N, 1) of the probability lies."""
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total_N1 = cumulative[:, -1:]
    if not total_N1.amin().item() > 0:  # NaN is not either
        raise RuntimeError("No token can be drawn: the network answered logits that are not finite.")
    return torch.searchsorted(cumulative, uniform_N1 * total_N1, right=True)[:, 0]


ELEMENTS_AT_ONCE = 2**16
"""Sums that fit a processor's cache."""


LEAST_TEMPERATURE, MOST_PENALTY = 1e-4, 10_000
"""Beyond these, logits of usual sizes are no longer finite."""


def check_sampling(
    *, temperature: float, top_k: int | None, top_p: float | None, repetition_penalty: float = 1.0
) -> None:
    """Refuse sampling options that are out of range."""
    numbers = {"temperature": temperature, "repetition_penalty": repetition_penalty}
    for name, value in {**numbers, **({} if top_p is None else {"top_p": top_p})}.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"`{name}={value}`: it is a number.")
    if not (temperature == 0 or LEAST_TEMPERATURE <= temperature < float("inf")):
        raise UserError(
            f"`temperature={temperature}`: it is 0 (always the likeliest token) or from {LEAST_TEMPERATURE} on, "
            "usually up to 1."
        )
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int)):
        raise UserError(f"`top_k={top_k}`: it is a whole number, or null.")
    if top_k is not None and top_k < 1:
        raise UserError(f"`top_k={top_k}`: draw from at least 1 token, or from all with `top_k=null`.")
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"`top_p={top_p}`: a probability above 0, up to 1.")
    if not 1 / MOST_PENALTY <= repetition_penalty <= MOST_PENALTY:
        raise UserError(
            f"`repetition_penalty={repetition_penalty}`: above 0, from {1 / MOST_PENALTY} to {MOST_PENALTY:,}; "
            "1 changes nothing."
        )


def less_likely(logits: Tensor, penalty: float) -> Tensor:
    """Logits as a repetition penalty lowers them."""
    return torch.where(logits > 0, logits / penalty, logits * penalty)
