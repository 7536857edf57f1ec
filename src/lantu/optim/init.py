"""Initialisations: callables that are applied to a network once it is built.

They set the weights of linear, convolutional and recurrent layers, and zero their biases. Embeddings, norms and lone
parameters (class tokens, positions) stay as the architecture made them.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Initialise = Callable[[nn.Module], None]
_FORWARD = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def he(module: nn.Module, *, nonlinearity: str = "relu") -> None:
    """Normal with variance gain² / fan-in, which keeps the variance through rectifiers (He et al. 2015).

    Args:
        nonlinearity: relu, leaky_relu, tanh, sigmoid or linear; sets the gain.
    """
    for weight, transposed in _matrices(module):
        # torch counts the inputs of a transposed convolution as its outputs
        nn.init.kaiming_normal_(weight, mode="fan_out" if transposed else "fan_in", nonlinearity=nonlinearity)  # type: ignore[arg-type]


def xavier(module: nn.Module, *, gain: float = 1.0) -> None:
    """Uniform with variance 2 gain² / (fan-in + fan-out), for tanh and sigmoid (Glorot and Bengio 2010)."""
    for weight, _ in _matrices(module):
        nn.init.xavier_uniform_(weight, gain=gain)


def orthogonal(module: nn.Module, *, gain: float = 1.0) -> None:
    """Random orthogonal rows or columns, which keep lengths through many layers or steps (Saxe et al. 2014)."""
    for weight, _ in _matrices(module):
        nn.init.orthogonal_(weight, gain=gain)


@torch.no_grad()
def _matrices(module: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """Every weight to set, with whether it belongs to a transposed convolution; zeroes the biases on the way."""
    for layer in module.modules():
        if isinstance(layer, _FORWARD + _TRANSPOSED):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            yield layer.weight, isinstance(layer, _TRANSPOSED)
        elif isinstance(layer, nn.RNNBase):
            gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
            for name, parameter in layer.named_parameters(recurse=False):
                if name.startswith("bias"):
                    nn.init.zeros_(parameter)
                else:  # each gate is a matrix of its own, stored one under the other
                    yield from ((gate, False) for gate in parameter.data.chunk(gates))
