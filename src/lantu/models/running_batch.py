"""Continuous batching: sequences join and leave a batch between two tokens, instead of waiting for each other.

A batch that runs until its longest text has ended leaves places idle, and a request that comes later waits for all of
it. Here every step writes one token of each sequence; those that have ended leave, and new ones take their places
(iteration-level scheduling, Orca, Yu et al. 2022). A prompt is read alone, with the sequence's own cache, which is then
put into the batch's. So a sequence gets the tokens that it would get alone, as `generate` writes them.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from lantu.models.generate import check_sampling, draw, less_likely


@dataclass(eq=False)
class Sequence:
    """A text that is being written.

    Raises:
        UserError: an option of sampling is out of its range.
    """

    tokens: list[int]
    """Those of the prompt, at least one, then those that were drawn."""
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    generator: torch.Generator | None = None
    """Its own, if its tokens are not to depend on its neighbours."""
    logits: Tensor | None = field(default=None, repr=False)
    """(1, V) of the next token, once it is known."""
    start: int = 0
    """The first token that the cache holds."""

    def __post_init__(self) -> None:
        penalty = self.repetition_penalty
        check_sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, repetition_penalty=penalty)

    def draw(self) -> int:
        """Draw the next token and append it."""
        assert self.logits is not None
        logits, self.logits = self.logits, None
        if self.repetition_penalty != 1:
            seen = torch.tensor([self.tokens], device=logits.device)
            fewer = less_likely(logits, self.repetition_penalty)
            logits = torch.where(torch.zeros_like(logits, dtype=torch.bool).scatter(1, seen, True), fewer, logits)
        options: dict[str, Any] = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        token = int(draw(logits, generator=self.generator, **options))
        self.tokens.append(token)
        return token


class RunningBatch:
    """Sequences of one network that grow by a token each step.

    Args:
        net: with `new_cache` and `new_slots`, in eval mode.
        rows: sequences at once.
        context: the most tokens that are read at once by a network without a `context` of its own; None: no limit.
    """

    def __init__(self, net: nn.Module, *, rows: int, context: int | None = None) -> None:
        self.net = cast(Any, net)
        self.rows = rows
        self.context: int | None = getattr(net, "context", context)
        self.sequences: list[Sequence] = []
        """In the order of the rows of the cache."""
        self._joining: list[Sequence] = []
        self._slots: Any = self.net.new_slots(rows)
        self._device = next(net.parameters()).device

    @staticmethod
    def can_run(net: nn.Module) -> bool:
        """Whether a network's cache can hold sequences of different lengths."""
        return hasattr(net, "new_slots") and hasattr(net, "new_cache")

    def __len__(self) -> int:
        return len(self.sequences) + len(self._joining)

    @property
    def full(self) -> bool:
        """Whether another sequence must wait."""
        return len(self) >= self.rows

    def join(self, sequence: Sequence) -> None:
        """Let a sequence begin with the next step."""
        assert not self.full
        sequence.start = max(len(sequence.tokens) - self.context, 0) if self.context else 0
        self._joining.append(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Free a sequence's place; between two steps."""
        if sequence in self._joining:
            self._joining.remove(sequence)
            return
        row = self.sequences.index(sequence)
        self._slots.remove(row)
        last = self.sequences.pop()
        if last is not sequence:  # the last row has taken the place
            self.sequences[row] = last

    @torch.no_grad()
    def step(self) -> list[tuple[Sequence, int]]:
        """Write one token of every sequence; returns each with its token."""
        for sequence in [each for each in self.sequences if self._overflows(each)]:
            self.leave(sequence)  # it goes on with the last half of its context, as in `generate`
            assert self.context is not None
            sequence.start = len(sequence.tokens) - max(self.context // 2, 1)
            self._joining.append(sequence)
        if self.sequences:
            newest = torch.tensor([[each.tokens[-1]] for each in self.sequences], device=self._device)
            logits = self.net._call_impl(newest, self._slots)[:, -1].float()
            for row, sequence in enumerate(self.sequences):
                sequence.logits = logits[row : row + 1]
        joining, self._joining = self._joining, []
        for sequence in joining:
            cache = self.net.new_cache()
            read = torch.tensor([sequence.tokens[sequence.start :]], device=self._device)
            sequence.logits = self.net._call_impl(read, cache)[:, -1].float()
            self._slots.append(cache)
            self.sequences.append(sequence)
        return [(each, each.draw()) for each in self.sequences]

    def _overflows(self, sequence: Sequence) -> bool:
        return self.context is not None and len(sequence.tokens) - sequence.start > self.context
