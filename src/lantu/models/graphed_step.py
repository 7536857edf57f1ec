"""One token more of every sequence as one CUDA graph.

A step of generation is some hundred small kernels, which the host launches more slowly than a GPU runs them. A graph
launches them all at once (CUDA graphs, torch.cuda.CUDAGraph).
"""

from typing import Any

import torch
from torch import Tensor, nn

from lantu.models.key_value_cache import FixedSlots, KeyValueCache

LEAST_TOKENS = 16
"""Tokens to generate from which on a graph pays: recording it takes about as long as five steps without."""


def can_graph(net: nn.Module, tokens: Tensor, cache: Any, *, new_tokens: int) -> bool:
    """Whether a network's steps can be recorded: on a GPU, with a cache of keys and values, in eval mode.

    Autocast keeps cast weights whose memory a graph must not refer to, so it is excluded.
    """
    return (
        tokens.is_cuda
        and new_tokens >= LEAST_TOKENS
        and isinstance(cache, KeyValueCache)
        and not net.training
        and not torch.is_autocast_enabled("cuda")
        and not torch.cuda.is_current_stream_capturing()
    )


class GraphedStep:
    """The steps of sequences of one length after their prompts were read.

    Attention reads the whole context at every step, with a mask, since the shapes of a graph are fixed. Sums run in
    another order than in a step without, so logits differ by rounding.

    Args:
        net: takes tokens (N, 1) and slots, and answers logits (N, 1, V).
        cache: of the prompts.
    """

    def __init__(self, net: nn.Module, cache: KeyValueCache) -> None:
        self.slots = FixedSlots(cache)
        self._tokens_N1 = torch.zeros(self.slots.rows, 1, dtype=torch.long, device=self.slots.lengths_N.device)
        self.slots.lengths_N.zero_()  # of the steps below, whose tokens mean nothing
        current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):  # chooses kernels and asks for their memory, which must not be recorded
            for _ in range(2):
                net._call_impl(self._tokens_N1, self.slots)
        current.wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._logits_N1V: Tensor = net._call_impl(self._tokens_N1, self.slots)
        self.read(cache)

    def read(self, cache: KeyValueCache) -> None:
        """Go on after the tokens of a cache of the same sequences."""
        self.cache = cache
        self.slots.load(cache)

    def __call__(self, tokens_N1: Tensor) -> Tensor:
        """Logits (N, 1, V) after one more token of each sequence; overwritten by the next call."""
        self._tokens_N1.copy_(tokens_N1)
        self._graph.replay()
        return self._logits_N1V
