"""Log-mel spectrograms, as networks are given them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.errors import UserError

FLOOR = 1e-6
"""Added to the mel power before the logarithm: -60 dB of a full-scale sine's order of magnitude."""
WHISPER_RATE = 16000
"""Samples per second that Whisper hears."""
WHISPER_DECADES = 8.0
"""Powers of ten below a recording's maximum from which on Whisper hears nothing."""


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """From waveforms to log-mel spectrograms (Davis and Mermelstein 1980 without the cosine transform).

    Equal to torchaudio's and librosa's mel power spectrogram (HTK mel scale, reflection at the ends), then
    log(power + 1e-6).
    """

    rate: int
    """Samples per second."""
    mels: int = 40
    window: float = 0.025
    """Seconds of a frame."""
    hop: float = 0.010
    """Seconds from one frame to the next."""
    highest: float | None = None
    """Highest frequency in Hz; None: half the sample rate."""

    def __post_init__(self) -> None:
        if self.mels < 4 or self.hop <= 0 or self.window < self.hop:
            raise UserError(
                f"`data.mels={self.mels} data.window={self.window} data.hop={self.hop}`: at least 4 mel bands, and a "
                "window at least as long as the hop."
            )

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return max(1, round(self.hop * self.rate))

    def frames(self, samples: int) -> int:
        """Frames of a recording of so many samples."""
        return samples // self.hop_length + 1

    def __call__(self, waves: Tensor) -> Tensor:
        """(N, samples) in [-1, 1] to (N, mels, frames)."""
        import torchaudio

        window = max(16, round(self.window * self.rate))
        size = 1 << (window - 1).bit_length()
        if waves.shape[1] < size:  # too short to be reflected at its ends
            waves = torch.nn.functional.pad(waves, (0, size - waves.shape[1]))
        transform = torchaudio.transforms.MelSpectrogram(
            self.rate, n_fft=size, win_length=window, hop_length=self.hop_length, n_mels=self.mels, f_max=self.highest,
            norm=None, mel_scale="htk",
        )  # fmt: skip
        return (transform(waves) + FLOOR).log()


@dataclass(frozen=True, kw_only=True)
class WhisperMel:
    """Log-mels as Whisper was trained on (Radford et al. 2023), equal to transformers' `WhisperFeatureExtractor`.

    Log power in the mel scale of Slaney, at most 80 dB below a recording's maximum, scaled to about [-1, 1].
    """

    mels: int = 80
    rate: int = WHISPER_RATE

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.rate // 100

    def __call__(self, wave: Tensor) -> Tensor:
        """(samples,) in [-1, 1] to (mels, frames)."""
        import torchaudio

        transform = torchaudio.transforms.MelSpectrogram(
            self.rate, n_fft=400, hop_length=self.hop_length, n_mels=self.mels, norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        frames = max(1, len(wave) // self.hop_length)
        # Whisper hears silence behind a recording
        power = transform(torch.nn.functional.pad(wave, (0, 400)))[:, :frames]
        levels = power.clamp(min=1e-10).log10()
        return (levels.clamp(min=float(levels.max()) - WHISPER_DECADES) + 4) / 4


def with_deltas(features: Tensor) -> Tensor:
    """Append first and second differences in time as channels: (N, mels, frames) to (N, 3, mels, frames)."""
    import torchaudio

    first = torchaudio.functional.compute_deltas(features)
    return torch.stack([features, first, torchaudio.functional.compute_deltas(first)], dim=1)


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of log-mel spectrograms over the training split, by which they are standardised."""

    mean: Tensor
    """(channels, mels, 1)."""
    std: Tensor

    @classmethod
    def of(cls, mean: Sequence[Any], std: Sequence[Any]) -> "Standard":
        """From numbers by mel band, or by channel and mel band."""
        both = (torch.tensor(each, dtype=torch.float32) for each in (mean, std))
        return cls(*(each.reshape(-1, each.shape[-1], 1) for each in both))

    def applied(self, features: Tensor) -> Tensor:
        """Standardise (N, channels, mels, frames)."""
        return (features - self.mean) / self.std

    def undone(self, features: Tensor) -> Tensor:
        """Log-mels (N, channels, mels, frames) of standardised ones."""
        return features * self.std + self.mean

    @property
    def silence(self) -> Tensor:
        """(channels, mels, 1), standardised: the floor of the power, without differences in time."""
        level = torch.zeros_like(self.mean)
        level[0] = float(np.log(FLOOR))
        return (level - self.mean) / self.std
