"""Keys and values of earlier tokens, so that generation processes each token once.

Letters at the end of a tensor's name are those of `lantu.models.gpt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lantu.models.cpu_decoder import CpuDecoder


class KeyValueCache:
    """Cached keys and values of earlier tokens, so that generation processes each token once.

    Args:
        layers, context: of the network.
        decoder: reads one token of each sequence faster than the network's blocks.
    """

    def __init__(self, layers: int, context: int, *, decoder: CpuDecoder | None = None) -> None:
        self.decoder = decoder
        self.length = 0
        """Number of cached tokens; `GPT.forward` updates it after the last layer."""
        self.context = context
        self.kept: list[Tensor | None] = [None] * layers
        self.tokens_NS: Tensor | None = None
        """The cached tokens, for networks with a `boundary_id`."""

    def __bool__(self) -> bool:
        return True

    def renewed(self) -> KeyValueCache:
        """An empty cache of the same network."""
        return KeyValueCache(len(self.kept), self.context, decoder=self.decoder)

    def read(self, tokens_NT: Tensor) -> Tensor:
        """Append new tokens, and return all tokens (N, S)."""
        self.tokens_NS = tokens_NT if self.tokens_NS is None else torch.cat((self.tokens_NS, tokens_NT), dim=1)
        return self.tokens_NS

    def extend(self, layer: int, k_NKTC: Tensor, v_NKTC: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values, and return all of them, (N, K, S, C) each."""
        kept_2NKSC = self.kept[layer]
        if kept_2NKSC is None:
            sequences, heads, _, head_width = k_NKTC.shape
            kept_2NKSC = self.kept[layer] = k_NKTC.new_empty(2, sequences, heads, self.context, head_width)
        now, k_NKSC, v_NKSC = k_NKTC.shape[2], kept_2NKSC.select(0, 0), kept_2NKSC.select(0, 1)
        k_NKSC.narrow(2, self.length, now).copy_(k_NKTC)
        v_NKSC.narrow(2, self.length, now).copy_(v_NKTC)
        return k_NKSC.narrow(2, 0, self.length + now), v_NKSC.narrow(2, 0, self.length + now)


class KeyValueSlots:
    """Keys and values of several sequences, each at a place of its own.

    Args:
        layers, context: of the network.
        rows: sequences at most.
        decoder: as in `KeyValueCache`.
    """

    def __init__(self, layers: int, context: int, rows: int, *, decoder: CpuDecoder | None = None) -> None:
        self.decoder = decoder
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
        place_S = torch.arange(self._reach(), device=at_N.device)
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
        end = self._reach()
        return kept_2NKSC[0, : self.used, :, :end], kept_2NKSC[1, : self.used, :, :end]

    def end(self) -> None:
        """End the step: every sequence is a token longer."""
        self.lengths_N[: self.used] += 1

    def _reach(self) -> int:
        """How many positions a step reads: to the end of the longest sequence."""
        return int(self.lengths_N[: self.used].max()) + 1


class FixedSlots(KeyValueSlots):
    """Slots whose tensors and shapes are the same at every step: each reads the whole context.

    A step so waits for no number from a GPU, and can be recorded as a CUDA graph.

    Args:
        cache: of the sequences; its tensors are copied.
    """

    def __init__(self, cache: KeyValueCache) -> None:
        first = cache.kept[0]
        assert first is not None
        rows = first.shape[1]
        super().__init__(len(cache.kept), cache.context, rows)
        self.used = rows
        self.lengths_N = self.lengths_N.to(first.device)
        # zeros, since what is masked is still multiplied by zero, and memory as it is found may hold NaN
        self.kept = [torch.zeros_like(each) for each in cache.kept if each is not None]
        if cache.tokens_NS is not None:
            self.tokens_NS = cache.tokens_NS.new_zeros(rows, cache.context)
        self.load(cache)

    def load(self, cache: KeyValueCache) -> None:
        """Copy the tokens of a cache, in place."""
        for mine_2NKSC, theirs_2NKSC in zip(self.kept, cache.kept, strict=True):
            assert mine_2NKSC is not None
            assert theirs_2NKSC is not None
            mine_2NKSC[:, :, :, : cache.length] = theirs_2NKSC[:, :, :, : cache.length]
        if self.tokens_NS is not None and cache.tokens_NS is not None:
            self.tokens_NS[:, : cache.length] = cache.tokens_NS
        self.lengths_N.fill_(cache.length)

    def _reach(self) -> int:
        return self.context


def documents(tokens_NS: Tensor, boundary_id: int, *, now: int) -> tuple[Tensor, Tensor]:
    """For the last `now` of S tokens: their positions (N, T) in their documents, and the attention mask (N, T, S)."""
    is_start_NS = tokens_NS == boundary_id
    document_NS = is_start_NS.cumsum(dim=1)
    position_S = torch.arange(tokens_NS.shape[1], device=tokens_NS.device)
    start_NS = (is_start_NS * position_S).cummax(dim=1).values
    same_NTS = document_NS[:, -now:, None] == document_NS[:, None]
    return (position_S - start_NS)[:, -now:], same_NTS & (position_S <= position_S[-now:, None])
