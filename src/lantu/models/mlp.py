"""A multilayer perceptron, for tables and small images."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import activation as activation_called
from lantu.models.layers import check_between
from lantu.models.linear_base import LinearBase


class MLP(nn.Module):
    """Fully connected layers; each hidden one is linear, norm, activation, dropout.

    Args:
        features: numbers per example; an image is flattened to channels × height × width.
        outputs: classes or targets.
        hidden: widths of the hidden layers, first to last.
        activation: relu, gelu, silu, tanh, ...
        dropout: probability, on hidden activations.
        norm: batch, layer or null.
        linear_base: add the output of a linear model, which a run fits before it trains (`lantu.training.linear_base`);
            a run decides what "auto" is.

    Shape: (N, features) or (N, C, H, W) -> (N, outputs).
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (256, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: Literal["batch", "layer"] | None = None,
        linear_base: bool | Literal["auto"] = False,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if norm not in (None, "batch", "layer"):
            raise UserError(f"`model.norm={norm}`: an MLP's norm is batch, layer or null.")
        self.body = nn.Sequential()
        for inputs, width in pairwise([features, *hidden]):
            self.body.append(nn.Linear(inputs, width))
            if norm is not None:
                self.body.append(nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width))
            self.body.append(activation_called(activation))
            if dropout:
                self.body.append(nn.Dropout(dropout))
        self.head = nn.Linear([features, *hidden][-1], outputs)
        self.linear_base = LinearBase(features, outputs) if linear_base is True else None

    @property
    def output_layer(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        answers: Tensor = self.head(self.body(x))
        return answers if self.linear_base is None else answers + self.linear_base(x)
