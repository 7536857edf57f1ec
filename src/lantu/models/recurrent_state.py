"""Hidden states of recurrent networks between two calls: of one batch, or of several sequences in generation."""

import torch
from torch import Tensor

State = Tensor | tuple[Tensor, Tensor]
"""Hidden state (directions, N, hidden) of one layer; an LSTM's with its cell state."""


class RecurrentState:
    """The hidden states of the layers after the tokens read so far."""

    def __init__(self, layers: int) -> None:
        self.states: list[State | None] = [None] * layers

    def __bool__(self) -> bool:
        return True

    def detach_(self) -> None:
        """Detach the states: gradients do not flow past this point."""
        self.states = [None if state is None else _detached(state) for state in self.states]


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


def _detached(state: State) -> State:
    return (state[0].detach(), state[1].detach()) if isinstance(state, tuple) else state.detach()
