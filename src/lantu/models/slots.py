"""Caches of several sequences of different lengths, for `RunningBatch`; rows are always the first ones.

Letters at the end of a tensor's name are those of `lantu.models.gpt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lantu.models.gpt import KeyValueCache
    from lantu.models.rnn import RecurrentState, State


class KeyValueSlots:
    """Keys and values of several sequences, each at a place of its own.

    Args:
        layers, context: of the network.
        rows: sequences at most.
    """

    def __init__(self, layers: int, context: int, rows: int) -> None:
        self.context = context
        self.rows = rows
        self.used = 0
        self.kept: list[Tensor | None] = [None] * layers
        self.lengths_N = torch.zeros(rows, dtype=torch.long)
        self.tokens_NS: Tensor | None = None
        """For networks with a `boundary_id`."""

    def __bool__(self) -> bool:
        return True

    def append(self, cache: KeyValueCache) -> None:
        """Take in a sequence that was read alone."""
        for layer, one_2NKSC in enumerate(cache.kept):
            assert one_2NKSC is not None
            kept_2NKSC = self.kept[layer]
            if kept_2NKSC is None:
                _, _, heads, _, head_width = one_2NKSC.shape
                kept_2NKSC = one_2NKSC.new_zeros(2, self.rows, heads, self.context, head_width)
                self.kept[layer] = kept_2NKSC
                self.lengths_N = self.lengths_N.to(one_2NKSC.device)
            kept_2NKSC[:, self.used, :, : cache.length] = one_2NKSC[:, 0, :, : cache.length]
        if cache.tokens_NS is not None:
            if self.tokens_NS is None:
                self.tokens_NS = cache.tokens_NS.new_zeros(self.rows, self.context)
            self.tokens_NS[self.used, : cache.length] = cache.tokens_NS[0]
        self.lengths_N[self.used] = cache.length
        self.used += 1

    def remove(self, row: int) -> None:
        """Forget a sequence; the last row takes its place."""
        self.used -= 1
        if row == self.used:
            return
        length = int(self.lengths_N[self.used])
        for kept_2NKSC in self.kept:
            assert kept_2NKSC is not None
            kept_2NKSC[:, row, :, :length] = kept_2NKSC[:, self.used, :, :length]
        if self.tokens_NS is not None:
            self.tokens_NS[row] = self.tokens_NS[self.used]
        self.lengths_N[row] = length

    def begin(self, tokens_N1: Tensor, boundary_id: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Begin a step of one token of each sequence.

        Returns:
            Their positions among the sequence's tokens (N, 1), their positions in their documents (N, 1), and the
            attention mask (N, 1, S).
        """
        at_N = self.lengths_N[: self.used]
        place_S = torch.arange(int(at_N.max()) + 1, device=at_N.device)
        mask_NS = place_S <= at_N[:, None]
        position_N1 = at_N[:, None]
        if boundary_id is not None:
            assert self.tokens_NS is not None
            self.tokens_NS[torch.arange(self.used, device=at_N.device), at_N] = tokens_N1[:, 0]
            is_start_NS = (self.tokens_NS[: self.used, : len(place_S)] == boundary_id) & mask_NS
            start_N1 = (is_start_NS * place_S).amax(dim=1, keepdim=True)
            mask_NS = mask_NS & (place_S >= start_N1)
            position_N1 = position_N1 - start_N1
        return at_N[:, None], position_N1, mask_NS[:, None]

    def extend(self, layer: int, k_NKTC: Tensor, v_NKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values, and return those of all rows up to the longest, (N, K, S, C) each."""
        kept_2NKSC = self.kept[layer]
        assert kept_2NKSC is not None
        at_N = self.lengths_N[: self.used]
        row_N = torch.arange(self.used, device=at_N.device)
        kept_2NKSC[0, row_N, :, at_N] = k_NKTC[:, :, 0].type_as(kept_2NKSC)
        kept_2NKSC[1, row_N, :, at_N] = v_NKTC[:, :, 0].type_as(kept_2NKSC)
        end = int(at_N.max()) + 1
        return kept_2NKSC[0, : self.used, :, :end], kept_2NKSC[1, : self.used, :, :end]

    def end(self) -> None:
        """End the step: every sequence is a token longer."""
        self.lengths_N[: self.used] += 1


class RecurrentSlots:
    """States of several sequences: a recurrent network needs no more of a sequence than that.

    Args:
        layers: of the network.
    """

    def __init__(self, layers: int) -> None:
        self.states: list[State | None] = [None] * layers

    def __bool__(self) -> bool:
        return True

    def append(self, cache: RecurrentState) -> None:
        """Take in a sequence that was read alone."""
        for layer, state in enumerate(cache.states):
            assert state is not None
            before = self.states[layer]
            self.states[layer] = state if before is None else _joined(before, state)

    def remove(self, row: int) -> None:
        """Forget a sequence; the last row takes its place."""
        self.states = [None if state is None else _without(state, row) for state in self.states]


def _joined(one: State, two: State) -> State:
    if isinstance(one, tuple):
        assert isinstance(two, tuple)
        return torch.cat((one[0], two[0]), dim=1), torch.cat((one[1], two[1]), dim=1)
    assert isinstance(two, Tensor)
    return torch.cat((one, two), dim=1)


def _without(state: State, row: int) -> State | None:
    if isinstance(state, tuple):
        found = _without(state[0], row), _without(state[1], row)
        return None if found[0] is None else found  # type: ignore[return-value]
    last = state.shape[1] - 1
    rows = [last if each == row else each for each in range(last)]
    return state[:, rows] if rows else None
