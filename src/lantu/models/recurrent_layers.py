"""Run one recurrent layer step by step: with dropout between steps, or so that it can be exported."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.models.recurrent_state import State


def unroll(
    layer: nn.RNNBase, x: Tensor, lengths: Tensor | None, state: State | None, *, dropout: float
) -> tuple[Tensor, State]:
    """Run one layer step by step, with one dropout mask per sequence on the state between steps.

    Args:
        x: (N, L, inputs), padded on the right if `lengths` (N,) is given.
        state: initial state; None: zeros.

    Returns:
        States (N, L, directions × hidden) after every step, where padded steps repeat the neighbouring state, and the
        final states (directions, N, hidden), as from `layer` itself.
    """
    directions = 2 if layer.bidirectional else 1
    zeros = x.new_zeros(directions, len(x), layer.hidden_size)
    states = list((zeros, zeros) if state is None else state if isinstance(state, tuple) else (state,))
    if layer.mode != "LSTM":
        states = states[:1]
    step = _STEPS[layer.mode]
    outs, finals = [], []
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        weight, bias = getattr(layer, f"weight_hh_l0{suffix}"), getattr(layer, f"bias_hh_l0{suffix}")
        inputs = F.linear(x, getattr(layer, f"weight_ih_l0{suffix}"), getattr(layer, f"bias_ih_l0{suffix}")).unbind(1)
        now = [part[direction] for part in states]
        mask = F.dropout(torch.ones_like(now[0]), dropout)
        out: list[Tensor] = [now[0]] * len(inputs)
        for place in range(len(inputs)) if direction == 0 else reversed(range(len(inputs))):
            new = step(inputs[place], F.linear(now[0] * mask, weight, bias), *now)
            if lengths is None:
                now = list(new)
            else:
                there = (place < lengths)[:, None]
                now = [torch.where(there, after, before) for after, before in zip(new, now, strict=True)]
            out[place] = now[0]
        outs.append(torch.stack(out, dim=1))
        finals.append(now)
    final = [torch.stack(parts) for parts in zip(*finals, strict=True)]
    return torch.cat(outs, dim=-1), (final[0], final[1]) if len(final) == 2 else final[0]


def _elman(inputs: Tensor, recurrent: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(inputs + recurrent),)


def _lstm(inputs: Tensor, recurrent: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    i, f, g, o = (inputs + recurrent).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(inputs: Tensor, recurrent: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    (r_in, z_in, n_in), (r_h, z_h, n_h) = inputs.chunk(3, dim=-1), recurrent.chunk(3, dim=-1)
    z = torch.sigmoid(z_in + z_h)
    return ((1 - z) * torch.tanh(n_in + torch.sigmoid(r_in + r_h) * n_h) + z * h,)


_STEPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {"RNN_TANH": _elman, "LSTM": _lstm, "GRU": _gru}


def read_padded(layer: nn.RNNBase, x: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
    """As packing does, without it, since it cannot be traced: states after every step, 0 behind the end, and the last.

    The reverse direction reads each sequence turned round within its length, with padding still behind it.
    """
    place = torch.arange(x.shape[1], device=x.device)
    there = (place < lengths[:, None])[..., None]
    turned = torch.where(there[..., 0], lengths[:, None] - 1 - place, place)
    outs, finals = [], []
    for suffix in ("", "_reverse")[: 2 if layer.bidirectional else 1]:
        backwards = bool(suffix)
        seen = x.gather(1, turned[..., None].expand_as(x)) if backwards else x
        weights = [getattr(layer, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        out = _run_layer(layer, seen, weights)
        finals.append(out.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, out.shape[2]))[:, 0])
        outs.append((out.gather(1, turned[..., None].expand_as(out)) if backwards else out) * there)
    return torch.cat(outs, dim=-1), torch.stack(finals)


def _run_layer(layer: nn.RNNBase, x: Tensor, weights: list[Tensor]) -> Tensor:
    """States (N, L, hidden) of one direction of a layer."""
    zeros = x.new_zeros(1, x.shape[0], layer.hidden_size)  # `len` would fix the size of the batch
    if layer.mode == "LSTM":
        return torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, False, False, True)[0]
    step = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[layer.mode]
    return step(x, zeros, weights, True, 1, 0.0, False, False, True)[0]
