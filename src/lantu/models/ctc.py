"""A small network for speech recognition: convolutions over time, optionally followed by a recurrent layer.

Residual blocks of depthwise-separable convolutions, as in QuartzNet (Kriman et al. 2020), at half the frame rate.
Frames beyond the end of a recording are set to zero before every convolution, so that an utterance has the same
output alone and in a padded batch. A causal network looks at no later frame, and gives the same output in chunks as
they arrive as for the whole recording at once (`stream`).
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.errors import UserError
from lantu.models.layers import check_between


@dataclass
class StreamState:
    """What a causal network remembers from one chunk of a recording to the next."""

    before: dict[int, Tensor] = field(default_factory=dict)
    """Of each convolution the inputs that its next output depends on."""
    hidden: Tensor | None = None
    """Of the recurrent layer."""


class CTCNetwork(nn.Module):
    """Logits of each character at every second frame.

    Args:
        bands: mel bands.
        outputs: characters and the blank, which has index 0.
        width: channels.
        layers: residual blocks.
        kernel: kernel size of a block's convolution in frames; odd.
        recurrent: add a GRU after the convolutions, bidirectional unless causal.
        causal: look at no later frame.
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
        causal: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_between("dropout", dropout, 0, 1)
        if min(width, layers, kernel) < 1 or kernel % 2 == 0:
            raise UserError("`model.width`, `model.layers` and `model.kernel` must be at least 1, the last one odd.")
        if recurrent and width % 2 and not causal:
            raise UserError(f"`model.width={width}` must be even with `model.recurrent=true`: half for each direction.")
        self.causal = causal
        self.subsample = nn.Conv1d(bands, width, 5, stride=2)
        self.blocks = nn.ModuleList(Block(width, kernel=kernel, dropout=dropout) for _ in range(layers))
        self.recurrent = None
        if recurrent:
            self.no_graph = "`model.recurrent=true` reads recordings as packed sequences, which have no fixed shape"
            self.recurrent = nn.GRU(width, width if causal else width // 2, batch_first=True, bidirectional=not causal)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        features, lengths = batch["features"], batch["lengths"]
        x = torch.relu(self.subsample(self._padded(features * inside(lengths, features.shape[2]), 5)))
        lengths = (lengths + 1) // 2
        mask = inside(lengths, x.shape[2])
        for block in self.blocks:
            assert isinstance(block, Block)
            normed = block.normed(x * mask) * mask
            x = block.added(x * mask, self._padded(normed, block.kernel))
        x = x.transpose(1, 2)
        if self.recurrent is not None:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            x = x + nn.utils.rnn.pad_packed_sequence(
                self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1]
            )[0]  # fmt: skip
        return {"logits": self.head(self.norm(x)), "lengths": lengths}

    def stream(self, features: Tensor, state: StreamState) -> Tensor:
        """The logits (N, T / 2, outputs) of the next frames (N, bands, T) of a recording; T is even but for its end.

        Args:
            state: a new one at the beginning of a recording; it is changed in place.

        Raises:
            UserError: the network looks at later frames.
        """
        if not self.causal:
            raise UserError("only a causal network recognises speech as it arrives: train with `model.causal=true`.")
        x = torch.relu(self.subsample(_continued(features, 5, state, -1)))
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x = block.added(x, _continued(block.normed(x), block.kernel, state, number))
        x = x.transpose(1, 2)
        if self.recurrent is not None:
            out, state.hidden = self.recurrent(x, state.hidden)
            x = x + out
        logits: Tensor = self.head(self.norm(x))
        return logits

    def _padded(self, x: Tensor, kernel: int) -> Tensor:
        return F.pad(x, (kernel - 1, 0) if self.causal else (kernel // 2, kernel // 2))


class Block(nn.Module):
    """Layer norm, depthwise convolution over time, pointwise MLP; with a residual connection.

    Shape: (N, width, T) -> (N, width, T)
    """

    def __init__(self, width: int, *, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(width, width, kernel, groups=width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def normed(self, x: Tensor) -> Tensor:
        """What the convolution takes, before it is padded."""
        found: Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return found

    def added(self, x: Tensor, padded: Tensor) -> Tensor:
        """The block's output, given its input and the padded normed one (N, width, T + kernel - 1)."""
        return x + self.mix(self.over_time(padded).transpose(1, 2)).transpose(1, 2)


def _continued(x: Tensor, kernel: int, state: StreamState, number: int) -> Tensor:
    """A chunk with the `kernel - 1` inputs before it, zeros before a recording's first."""
    before = state.before.get(number)
    if before is None:
        before = x.new_zeros(*x.shape[:2], kernel - 1)
    joined = torch.cat([before, x], dim=2)
    state.before[number] = joined[:, :, joined.shape[2] - kernel + 1 :]
    return joined


def inside(lengths: Tensor, frames: int) -> Tensor:
    """Return a mask (N, 1, frames): 1 within a recording, 0 after its end."""
    return (torch.arange(frames, device=lengths.device)[None, None] < lengths[:, None, None]).float()
