"""From a spectrogram to the values of slots, by attention over time."""

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between


class SlotNetwork(nn.Module):
    """Residual convolutions over time, optionally a bidirectional GRU, and for each slot an attention of its own.

    An order names its slots anywhere in a sentence. So every slot weighs the frames by itself, and its values are
    scored from the weighted mean and from the largest of each channel.

    Args:
        channels, bands: of the spectrogram.
        slot_sizes: logits of each slot.
        width: channels over time.
        layers: residual blocks.
        kernel: frames that a block's filter sees, four of the spectrogram's each.
        recurrent: read the frames with a GRU after the convolutions.
        dropout: before the GRU and the last layer.

    Shape: (N, channels, bands, frames) -> (N, sum of `slot_sizes`).
    """

    def __init__(
        self,
        channels: int,
        bands: int,
        slot_sizes: list[int],
        *,
        width: int = 128,
        layers: int = 4,
        kernel: int = 5,
        recurrent: bool = True,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if min(width, layers, kernel) < 1 or width % 2 or not kernel % 2:
            raise UserError(
                f"`model.width={width} model.layers={layers} model.kernel={kernel}`: at least 1, an even width, and an "
                "odd kernel."
            )
        self.first = nn.Sequential(
            nn.Conv1d(channels * bands, width, 5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, width, kernel, padding=kernel // 2), nn.BatchNorm1d(width))
            for _ in range(layers)
        )
        self.reader = nn.GRU(width, width // 2, batch_first=True, bidirectional=True) if recurrent else None
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.Linear(width, len(slot_sizes))
        self.heads = nn.ModuleList(nn.Linear(2 * width, size) for size in slot_sizes)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.first(x.flatten(1, 2))
        for block in self.blocks:
            steps = steps + torch.relu(block(steps))
        steps = self.dropout(steps).transpose(1, 2)  # (N, T, width)
        if self.reader is not None:
            steps = self.dropout(self.reader(steps)[0])
        weights = self.attention(steps).softmax(dim=1)  # (N, T, slots)
        means, largest = weights.transpose(1, 2) @ steps, steps.amax(1)
        return torch.cat(
            [head(torch.cat([means[:, slot], largest], dim=1)) for slot, head in enumerate(self.heads)], dim=1
        )
