"""Weight initialisation: callables that are applied to a built network.

They set the weights of linear, convolutional and recurrent layers and zero their biases. Embeddings, norms and single
parameters (class tokens, positions) keep the architecture's own initialisation.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Initialise = Callable[[nn.Module], None]
_FORWARD = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def he(module: nn.Module, *, nonlinearity: str = "relu") -> None:
    """Normal with variance gain² / fan-in, which preserves the variance through ReLU layers (He et al. 2015).

    Args:
        nonlinearity: relu, leaky_relu, tanh, sigmoid or linear; sets the gain.
    """
    for weight, transposed in _matrices(module):
        # torch computes fan-in and fan-out of a transposed convolution the other way round
        nn.init.kaiming_normal_(weight, mode="fan_out" if transposed else "fan_in", nonlinearity=nonlinearity)  # type: ignore[arg-type]


def xavier(module: nn.Module, *, gain: float = 1.0) -> None:
    """Uniform with variance 2 gain² / (fan-in + fan-out), for tanh and sigmoid (Glorot and Bengio 2010)."""
    for weight, _ in _matrices(module):
        nn.init.xavier_uniform_(weight, gain=gain)


def orthogonal(module: nn.Module, *, gain: float = 1.0) -> None:
    """Random orthogonal rows or columns, which preserve norms through many layers or time steps (Saxe et al. 2014)."""
    for weight, _ in _matrices(module):
        nn.init.orthogonal_(weight, gain=gain)


@torch.no_grad()
def _matrices(module: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """Yield every weight to initialise, and whether it belongs to a transposed convolution; zero the biases."""
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
                else:  # each gate has its own matrix; they are stacked in one tensor
                    yield from ((gate, False) for gate in parameter.data.chunk(gates))
