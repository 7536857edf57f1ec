"""A small network for speech recognition: convolutions over time, optionally followed by a recurrent layer.

Residual blocks of depthwise-separable convolutions, as in QuartzNet (Kriman et al. 2020), at half the frame rate.
Frames beyond the end of a recording are set to zero before every convolution, so that an utterance has the same
output alone and in a padded batch.
"""

import torch
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between


class CTCNetwork(nn.Module):
    """Logits of each character at every second frame.

    Args:
        bands: mel bands.
        outputs: characters and the blank, which has index 0.
        width: channels.
        layers: residual blocks.
        kernel: kernel size of a block's convolution in frames; odd.
        recurrent: add a bidirectional GRU after the convolutions.
        dropout: in every block.

    Shape: {"features": (N, bands, T), "lengths": (N,)} -> {"logits": (N, T', outputs), "lengths": (N,)} with
    T' = ceil(T / 2).
    """

    def __init__(
        self,
        bands: int,
        outputs: int,
        *,
        width: int = 128,
        layers: int = 5,
        kernel: int = 11,
        recurrent: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if min(width, layers, kernel) < 1 or kernel % 2 == 0:
            raise UserError("`model.width`, `model.layers` and `model.kernel` must be at least 1, the last one odd.")
        if recurrent and width % 2:
            raise UserError(f"`model.width={width}` must be even with `model.recurrent=true`: half for each direction.")
        self.subsample = nn.Conv1d(bands, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(Block(width, kernel=kernel, dropout=dropout) for _ in range(layers))
        self.recurrent = nn.GRU(width, width // 2, batch_first=True, bidirectional=True) if recurrent else None
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        features, lengths = batch["features"], batch["lengths"]
        x = torch.relu(self.subsample(features * _inside(lengths, features.shape[2])))
        lengths = (lengths + 1) // 2
        inside = _inside(lengths, x.shape[2])
        for block in self.blocks:
            x = block(x * inside, inside)
        x = x.transpose(1, 2)
        if self.recurrent is not None:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            x = x + nn.utils.rnn.pad_packed_sequence(
                self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1]
            )[0]  # fmt: skip
        return {"logits": self.head(self.norm(x)), "lengths": lengths}


class Block(nn.Module):
    """Layer norm, depthwise convolution over time, pointwise MLP; with a residual connection.

    Shape: (N, width, T) -> (N, width, T)
    """

    def __init__(self, width: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        normed = self.norm(x.transpose(1, 2)).transpose(1, 2) * inside
        return x + self.mix(self.over_time(normed).transpose(1, 2)).transpose(1, 2)


def _inside(lengths: Tensor, frames: int) -> Tensor:
    """Return a mask (N, 1, frames): 1 within a recording, 0 after its end."""
    return (torch.arange(frames, device=lengths.device)[None, None] < lengths[:, None, None]).float()
