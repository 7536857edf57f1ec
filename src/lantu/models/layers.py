"""Layers by name, as in `model.activation=gelu`."""

from torch import nn

from lantu.errors import UserError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation(name: str) -> nn.Module:
    """Build an activation layer by its name in `ACTIVATIONS`."""
    if name not in ACTIVATIONS:
        raise UserError(f"`model.activation={name}`: there is no such activation. There are: {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]()


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse an option outside [low, high)."""
    if not low <= value < high:
        raise UserError(f"`model.{name}={value}`: `{name}` lies between {low:g} and {high:g}, without {high:g} itself.")
