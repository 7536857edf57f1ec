"""Log-mel spectrograms, and augmentation of them that depends on seed, epoch and example alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.data.samplers import Chosen
from lantu.errors import UserError

FLOOR = 1e-6
"""Added to the mel power before the logarithm: -60 dB of a full-scale sine's order of magnitude."""


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


def with_deltas(features: Tensor) -> Tensor:
    """Append first and second differences in time as channels: (N, mels, frames) to (N, 3, mels, frames)."""
    import torchaudio

    first = torchaudio.functional.compute_deltas(features)
    return torch.stack([features, first, torchaudio.functional.compute_deltas(first)], dim=1)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of log-mel spectrograms (N, channels, mels, frames), drawn for each example of a batch.

    Shift and masks as SpecAugment (Park et al. 2019), frequency warping as vocal tract length perturbation (Jaitly and
    Hinton 2013). All are index operations on the whole batch.
    """

    shift: float = 0.0
    """Share of the frames by which a recording is moved at most, to either side."""
    gain: float = 0.0
    """Decibels by which it is made louder or quieter at most."""
    tempo: float = 0.0
    """Share by which it is made faster or slower at most."""
    warp: float = 0.0
    """Share by which frequencies are stretched or compressed at most."""
    frequency_mask: int = 0
    """Mel bands that are hidden at most, in two stripes."""
    time_mask: float = 0.0
    """Share of the frames that are hidden at most, in two stripes."""

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> "Augment":
        """From the node `data.augment` of a config.

        Raises:
            UserError: an option that does not exist.
        """
        unknown = sorted(set(options or {}) - set(cls.__dataclass_fields__))
        if unknown:
            raise UserError(
                f"`data.augment.{unknown[0]}`: recordings are augmented by {', '.join(cls.__dataclass_fields__)}."
            )
        return cls(**(options or {}))

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return any((self.shift, self.gain, self.tempo, self.warp, self.frequency_mask, self.time_mask))

    def __call__(self, x: Tensor, draws: np.ndarray, *, silence: Tensor) -> Tensor:
        """Change a batch.

        Args:
            x: (N, channels, mels, frames).
            draws: uniform numbers (N, 12) in [0, 1), of each example.
            silence: (channels, mels, 1), what lies outside a recording.
        """
        numbers = torch.from_numpy(draws.astype(np.float32))
        signed = 2 * numbers - 1
        mels, frames = x.shape[-2:]
        if self.warp:
            place = torch.arange(mels)[None] * (1 + self.warp * signed[:, :1])
            x = _taken(x, place.round().clamp(max=mels - 1).long(), dim=2)
        if self.shift or self.tempo:
            place = (
                torch.arange(frames)[None] * (1 + self.tempo * signed[:, 1:2]) - frames * self.shift * signed[:, 2:3]
            )
            place = place.round().long()
            outside = (place < 0) | (place >= frames)
            x = torch.where(outside[:, None, None], silence, _taken(x, place.clamp(0, frames - 1), dim=3))
        if self.gain:
            loudness = self.gain * signed[:, 3].view(-1, 1, 1) * (np.log(10) / 10)
            x = torch.cat([x[:, :1] + loudness[:, None], x[:, 1:]], dim=1)
        for stripe in range(2):
            first = 4 + 4 * stripe
            x = _masked(x, numbers[:, first : first + 2], most=self.frequency_mask // 2, dim=2)
            x = _masked(x, numbers[:, first + 2 : first + 4], most=int(self.time_mask * frames / 2), dim=3)
        return x


DRAWS = 12
"""Random numbers that an example takes."""


class Draws:
    """The random numbers (N, 12) of a data set's examples, drawn once an epoch and kept for its batches."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: tuple[tuple[int, int], np.ndarray] | None = None

    def of(self, chosen: Chosen) -> np.ndarray:
        """Those of a batch, which depend on seed, epoch and example alone."""
        now = (chosen.seed, chosen.epoch)
        if self._drawn is None or self._drawn[0] != now:
            self._drawn = now, np.random.default_rng(now).random((self._size, DRAWS))
        return self._drawn[1][chosen]


def _taken(x: Tensor, places: Tensor, *, dim: int) -> Tensor:
    """`x` at other places (N, size) along a dimension."""
    shape = [len(x), 1, 1, 1]
    shape[dim] = -1
    return x.gather(dim, places.view(shape).expand(x.shape))


def _masked(x: Tensor, numbers: Tensor, *, most: int, dim: int) -> Tensor:
    """Zero, which is the mean, over a stripe of random width and place."""
    if most < 1:
        return x
    size = x.shape[dim]
    width = (numbers[:, :1] * (most + 1)).floor()
    begin = (numbers[:, 1:] * (size - width)).floor()
    places = torch.arange(size)[None]
    hidden = (places >= begin) & (places < begin + width)
    shape = [len(x), 1, 1, 1]
    shape[dim] = -1
    return x.masked_fill(hidden.view(shape), 0.0)
