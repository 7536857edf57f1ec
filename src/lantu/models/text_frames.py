"""From characters to the frames of a recording: a learned monotonic alignment, durations, and predicted log-mels.

The encoder predicts a log-mel vector for every character. The likeliest monotonic alignment of those with the
recording's frames is found by dynamic programming, as in Glow-TTS (Kim et al. 2020), without any labelled durations.
A duration predictor learns from it, and a decoder turns the aligned characters into frames, whose prediction of the
log-mels is part of the loss, as in FastSpeech (Ren et al. 2019).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIAGONAL = 10.0
"""Weight of the squared distance from the diagonal: decides while an untrained encoder cannot."""
DURATION_WEIGHT = 0.1
"""Of the Poisson regression of frames per character, whose gradients are about ten times those of the other parts."""
LONGEST_CHARACTER = 60
"""Frames of a character that are generated at most: a predicted duration must not run away."""


class TextFrames(nn.Module):
    """Frames (N, width, F) that condition a vocoder or a WaveNet, computed from characters.

    Args:
        characters: how many there are; token 0 is padding.
        bands: mel bands of a frame.
        width: channels.
    """

    def __init__(self, characters: int, bands: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters + 1, width, padding_idx=0)
        self.encoder = nn.ModuleList(ConvBlock(width, dropout=dropout) for _ in range(3))
        self.to_mel = nn.Linear(width, bands)
        self.to_duration = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.place = nn.Linear(3, width)
        self.decoder = nn.ModuleList(ConvBlock(width, dropout=dropout) for _ in range(3))
        self.refined = nn.Linear(width, bands)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Align the recordings' frames with their characters.

        Args:
            batch: "tokens" (N, L), "token_lengths" (N,), "mels" (N, bands, F) standardised, "lengths" (N,).

        Returns:
            Frames (N, width, F), and per recording (N,) the "alignment", "mels" and "durations" parts of the loss.
        """
        tokens, sizes, mels, lengths = (batch[name] for name in ("tokens", "token_lengths", "mels", "lengths"))
        encoded = self.encoded(tokens, sizes)
        means = self.to_mel(encoded)
        durations = align(means.detach(), sizes, mels, lengths)
        frames, chosen, inside = self._spread(encoded, durations, mels.shape[2])
        known = mels.transpose(1, 2)
        count = lengths.clamp(min=1)
        own = means.gather(1, chosen[..., None].expand(-1, -1, means.shape[2]))
        apart = (((own - known) ** 2).mean(-1) * inside).sum(1) / count
        refined = (((self.refined(frames) - known) ** 2).mean(-1) * inside).sum(1) / count
        held = _inside(sizes, tokens.shape[1])
        # a Poisson regression predicts the mean, so that a text's predicted length is right on average
        log_mean = self.to_duration(encoded.detach())[..., 0].float()
        misfit = F.poisson_nll_loss(log_mean, durations.float(), reduction="none", full=True)
        errors = DURATION_WEIGHT * (misfit * held).sum(1) / sizes.clamp(min=1)
        return frames.transpose(1, 2), {"alignment": apart, "mels": refined, "durations": errors}

    def encoded(self, tokens: Tensor, sizes: Tensor) -> Tensor:
        """Characters in their context (N, L, width)."""
        x, inside = self.embed(tokens), _inside(sizes, tokens.shape[1])
        for block in self.encoder:
            x = block(x, inside)
        return x

    def from_text(self, tokens: Tensor, sizes: Tensor, *, pace: float = 1.0) -> tuple[Tensor, Tensor]:
        """Frames (N, width, F) of characters alone, with predicted durations, and how many each has (N,)."""
        encoded = self.encoded(tokens, sizes)
        predicted = self.to_duration(encoded)[..., 0].float().exp() / pace
        durations = predicted.round().clamp(1, LONGEST_CHARACTER).long() * _inside(sizes, tokens.shape[1]).long()
        total = durations.sum(1)
        frames, _, _ = self._spread(encoded, durations, int(total.max()))
        return frames.transpose(1, 2), total

    def _spread(self, encoded: Tensor, durations: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Decoded frames (N, F, width), the character of each (N, F), and which are inside (N, F)."""
        ends = durations.cumsum(1)
        places = torch.arange(frames, device=encoded.device)[None].expand(len(encoded), -1).contiguous()
        chosen = torch.searchsorted(ends, places, right=True).clamp(max=encoded.shape[1] - 1)
        inside = _inside(ends[:, -1], frames)
        long = durations.gather(1, chosen).clamp(min=1)
        since = places - (ends.gather(1, chosen) - long)
        share = (since.float() + 0.5) / long
        where = torch.stack([share, share * share, long.float().log()], dim=-1)
        x = encoded.gather(1, chosen[..., None].expand(-1, -1, encoded.shape[2])) + self.place(where)
        for block in self.decoder:
            x = block(x, inside)
        return x * inside[..., None], chosen, inside


class ConvBlock(nn.Module):
    """Layer norm, a convolution over time and a nonlinearity, with a residual connection: (N, T, width) -> the same."""

    def __init__(self, width: int, *, kernel: int = 5, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        normed = (self.norm(x) * inside[..., None]).transpose(1, 2)
        return x + self.dropout(torch.relu(self.over_time(normed))).transpose(1, 2)


@torch.no_grad()
def align(means: Tensor, sizes: Tensor, mels: Tensor, lengths: Tensor) -> Tensor:
    """Frames of each character (N, L) in the likeliest monotonic alignment, every character one frame at least.

    A frame is normally distributed about its character's mean, with unit variance.

    Args:
        means: (N, L, bands).
        sizes: characters of each of N; no more than its frames.
        mels: (N, bands, F).
        lengths: frames of each of N.
    """
    cross = torch.bmm(means.float(), mels.float())
    scores = (cross - 0.5 * means.float().pow(2).sum(2, keepdim=True)).cpu().numpy()
    found = np.zeros((len(means), means.shape[1]), dtype=np.int64)
    for row, (size, length) in enumerate(zip(sizes.tolist(), lengths.tolist(), strict=True)):
        away = (np.arange(size)[:, None] + 0.5) / size - (np.arange(length)[None] + 0.5) / length
        found[row, :size] = best_durations(scores[row, :size, :length] - DIAGONAL * away**2)
    return torch.from_numpy(found).to(means.device)


def best_durations(scores: np.ndarray) -> np.ndarray:
    """How many frames each of L states takes, given its score at each of F >= L frames: scores (L, F) -> (L,)."""
    states, frames = scores.shape
    best = np.full(states, -np.inf)
    best[0] = scores[0, 0]
    moved = np.zeros((frames, states), dtype=bool)
    for frame in range(1, frames):
        before = np.concatenate([[-np.inf], best[:-1]])
        moved[frame] = before > best
        best = np.maximum(before, best) + scores[:, frame]
    durations = np.zeros(states, dtype=np.int64)
    state = states - 1
    for frame in range(frames - 1, -1, -1):
        durations[state] += 1
        state -= int(moved[frame, state])
    return durations


def _inside(lengths: Tensor, size: int) -> Tensor:
    """(N, size) bool: within the first `lengths` places."""
    return torch.arange(size, device=lengths.device)[None] < lengths[:, None]
