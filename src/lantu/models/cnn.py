"""A small convolutional network, for images of any size from 4×4 pixels."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import activation as activation_called
from lantu.models.layers import check_between


class CNN(nn.Module):
    """Stages of 3×3 convolutions, each halving height and width; then pooling and a linear layer.

    Args:
        channels: of the image: 1 grey, 3 colour.
        outputs: classes or targets.
        widths: channels of each stage.
        convolutions: per stage; each is convolution, norm, activation.
        activation: relu, gelu, silu, tanh, ...
        norm: batch, group (8 groups) or null.
        dropout: probability, on the pooled features before the last layer.
        pool: side of the grid that the last stage is averaged to. 1 is global average pooling, without positions.

    Shape: (N, channels, H, W) -> (N, outputs), for any H and W from 4.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        widths: Sequence[int] = (32, 64),
        convolutions: int = 2,
        activation: str = "relu",
        norm: Literal["batch", "group"] | None = "batch",
        dropout: float = 0.0,
        pool: int = 2,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if norm not in (None, "batch", "group"):
            raise UserError(f"`model.norm={norm}`: a CNN's norm is batch, group or null.")
        if not widths or convolutions < 1 or pool < 1:
            raise UserError("`model.widths`, `model.convolutions` and `model.pool` of a CNN must be at least one.")
        self.body = nn.Sequential()
        for inputs, width in pairwise([channels, *widths]):
            for number in range(convolutions):
                # the norm's shift replaces the convolution's bias
                self.body.append(nn.Conv2d(inputs if number == 0 else width, width, 3, padding=1, bias=norm is None))
                if norm is not None:
                    self.body.append(nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(_groups(width), width))
                self.body.append(activation_called(activation))
            # ceil_mode keeps a single pixel, so that a deep network accepts a small image
            self.body.append(nn.MaxPool2d(2, ceil_mode=True))
        self.pool = GridMeans(pool)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1] * pool * pool, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.pool(self.body(x)).flatten(1)))


class GridMeans(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling that also works with `trainer.deterministic=true` on a GPU.

    torch's CUDA kernel for its gradient is not deterministic and raises in that mode. Matrix products give the same
    result in a fixed order.

    Shape: (N, C, H, W) -> (N, C, side, side).
    """

    def __init__(self, side: int) -> None:
        super().__init__(side)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if not (x.is_cuda and torch.are_deterministic_algorithms_enabled()):
            return super().forward(x)
        return self.by_products(x)

    def by_products(self, x: Tensor) -> Tensor:
        """Compute the means as products with the weight of each row and column in each cell."""
        rows, columns = (_shares(length, self.side, like=x) for length in x.shape[-2:])
        return rows @ x @ columns.T


def _shares(length: int, cells: int, *, like: Tensor) -> Tensor:
    """Return the weight of each of `length` positions in each cell's mean, (cells, length), with torch's borders."""
    place, cell = torch.arange(length), torch.arange(cells)[:, None]
    begin, end = cell * length // cells, -(-(cell + 1) * length // cells)
    inside = (begin <= place) & (place < end)
    return (inside / (end - begin)).to(like)


def _groups(width: int) -> int:
    """Return the largest number of groups, up to 8, that divides the width."""
    return next(number for number in range(8, 0, -1) if width % number == 0)
