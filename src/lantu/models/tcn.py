"""A temporal convolutional network for series (Bai, Kolter and Koltun 2018)."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lantu.errors import UserError
from lantu.models.layers import check_between


class TCN(nn.Module):
    """Residual blocks of causal convolutions whose reach doubles from block to block; the last step's state answers.

    A state depends on `receptive_field` steps up to its own: (kernel - 1) × 2 × (2^blocks - 1) + 1.

    Args:
        variables: numbers of each step.
        outputs: numbers to forecast.
        width: channels.
        blocks: of two convolutions each.
        kernel: steps that a filter sees.
        dropout: on whole channels, after each convolution.

    Shape: (N, L, variables) -> (N, outputs).
    """

    def __init__(
        self, variables: int, outputs: int, *, width: int = 32, blocks: int = 5, kernel: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if blocks < 1 or kernel < 2:
            raise UserError(
                f"`model.blocks={blocks} model.kernel={kernel}`: at least 1 block, and 2 steps in a filter."
            )
        self.receptive_field = (kernel - 1) * 2 * (2**blocks - 1) + 1
        self.blocks = nn.Sequential(
            *(
                _Block(variables if number == 0 else width, width, kernel, dilation=2**number, dropout=dropout)
                for number in range(blocks)
            )
        )
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x.transpose(1, 2))[:, :, -1])


class _Block(nn.Module):
    """Two dilated causal convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, kernel: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.padding = (kernel - 1) * dilation
        self.first = weight_norm(nn.Conv1d(inputs, width, kernel, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(width, width, kernel, dilation=dilation))
        self.shortcut = nn.Identity() if inputs == width else nn.Conv1d(inputs, width, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(F.relu(self.first(F.pad(x, (self.padding, 0)))))
        y = self.dropout(F.relu(self.second(F.pad(y, (self.padding, 0)))))
        return F.relu(y + self.shortcut(x))
