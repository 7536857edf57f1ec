"""Augmentation of log-mel spectrograms, which depends on seed, epoch and example alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.data.audio.features import FLOOR, LogMel, Standard, with_deltas
from lantu.data.audio.surroundings import Surroundings
from lantu.data.cleaning_report import Report
from lantu.data.samplers import Chosen
from lantu.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of log-mel spectrograms (N, channels, mels, frames), drawn for each example of a batch.

    Shift and masks as SpecAugment (Park et al. 2019), frequency warping as vocal tract length perturbation (Jaitly and
    Hinton 2013). All are array operations on the whole batch.
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
    noise: str | None = None
    """A folder with recordings of noise."""
    snr: Sequence[float] = (5.0, 30.0)
    """Decibels of a recording above the noise, at least and at most."""
    noise_share: float = 0.5
    """Share of the examples that noise is added to."""
    reverb: str | None = None
    """A folder with impulse responses of rooms."""
    reverb_share: float = 0.5
    """Share of the examples that are heard in a room."""

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
        made = cls(**(options or {}))
        if len(made.snr) != 2 or made.snr[0] > made.snr[1]:
            raise UserError(f"`data.augment.snr={list(made.snr)}`: two numbers of decibels, least and most.")
        return made

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        plain = (self.shift, self.gain, self.tempo, self.warp, self.frequency_mask, self.time_mask)
        return any(plain) or self.noise is not None or self.reverb is not None

    def attach(self, examples: Any, mel: LogMel, report: Report, *, trained: bool) -> None:
        """Let the batches of training examples, which call this with `augment` and `surroundings`, be changed.

        Args:
            trained: as of `surroundings`.
        """
        if self.is_on:
            examples.augment = self
            examples.surroundings = self.surroundings(mel, report, trained=trained)

    def surroundings(self, mel: LogMel, report: Report, *, trained: bool = False) -> Surroundings | None:
        """The noise and the rooms, read from their folders.

        Args:
            trained: the data are read for a trained model, which needs no folder to be measured or applied.

        Returns:
            None: a trained model's folders are not there.

        Raises:
            UserError: a folder that is not there, or that holds no recording that can be read.
        """
        try:
            return Surroundings.read(noise=self.noise, reverb=self.reverb, mel=mel, report=report)
        except UserError:
            if trained:
                return None
            raise

    def __call__(
        self,
        x: Tensor,
        draws: np.ndarray,
        *,
        standard: Standard,
        surroundings: Surroundings | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Change a batch.

        Args:
            x: (N, channels, mels, frames), standardised.
            draws: uniform numbers (N, 17) in [0, 1), of each example.
            standard: how it was standardised.
            surroundings: noise and rooms; None: neither.
            lengths: (N,) frames of each recording, behind which there is padding; None: all.
        """
        numbers = torch.from_numpy(draws.astype(np.float32))
        signed = 2 * numbers - 1
        mels, frames = x.shape[-2:]
        if self.noise is not None or self.reverb is not None:
            if surroundings is None:  # a run that goes on elsewhere
                missing = ", ".join(f"`data.augment.{n}={v}`" for n in ("noise", "reverb") if (v := getattr(self, n)))
                raise UserError(f"training needs the recordings of {missing}, and they are not there.")
            x = self._surrounded(x, numbers[:, PLAIN_DRAWS:], standard, surroundings, lengths)
        if self.warp:
            place = torch.arange(mels)[None] * (1 + self.warp * signed[:, :1])
            x = _taken(x, place.round().clamp(max=mels - 1).long(), dim=2)
        if self.shift or self.tempo:
            place = (
                torch.arange(frames)[None] * (1 + self.tempo * signed[:, 1:2]) - frames * self.shift * signed[:, 2:3]
            )
            place = place.round().long()
            outside = (place < 0) | (place >= frames)
            x = torch.where(outside[:, None, None], standard.silence, _taken(x, place.clamp(0, frames - 1), dim=3))
        if self.gain:
            loudness = self.gain * signed[:, 3].view(-1, 1, 1) * (np.log(10) / 10)
            x = torch.cat([x[:, :1] + loudness[:, None] / standard.std[:1], x[:, 1:]], dim=1)
        for stripe in range(2):
            first = 4 + 4 * stripe
            x = _masked(x, numbers[:, first : first + 2], most=self.frequency_mask // 2, dim=2)
            x = _masked(x, numbers[:, first + 2 : first + 4], most=int(self.time_mask * frames / 2), dim=3)
        return x

    def at_another_tempo(self, x: Tensor, draws: np.ndarray) -> Tensor:
        """A spectrogram (mels, frames) made faster or slower by `tempo`, with fewer or more frames.

        Args:
            draws: of the example, as of a row of `__call__`.
        """
        if not self.tempo:
            return x
        pace = 1 + self.tempo * (2 * float(draws[1]) - 1)
        places = torch.arange(max(1, round(x.shape[1] / pace))) * pace
        return x[:, places.round().long().clamp(max=x.shape[1] - 1)]

    def _surrounded(
        self, x: Tensor, numbers: Tensor, standard: Standard, surroundings: Surroundings, lengths: Tensor | None
    ) -> Tensor:
        """In a room, and with noise."""
        plain = standard.undone(x)[:, 0]
        power = (plain.exp() - FLOOR).clamp(min=0)
        if lengths is not None:
            power = power * (torch.arange(x.shape[-1])[None, None] < lengths[:, None, None])
        if surroundings.responses is not None:
            inside = numbers[:, 0] < self.reverb_share
            power = torch.where(inside[:, None, None], surroundings.in_a_room(power, numbers[:, 1]), power)
        if surroundings.noise is not None:
            loud = numbers[:, 2] < self.noise_share
            decibels = self.snr[0] + (self.snr[1] - self.snr[0]) * numbers[:, 3]
            noisy = surroundings.with_noise(power, begin=numbers[:, 4], decibels=decibels, lengths=lengths)
            power = torch.where(loud[:, None, None], noisy, power)
        changed = (power + FLOOR).log()
        return standard.applied(with_deltas(changed) if x.shape[1] > 1 else changed[:, None])


PLAIN_DRAWS = 12
"""Random numbers that an example takes for all but its surroundings."""
DRAWS = PLAIN_DRAWS + 5
"""Random numbers that an example takes."""


class Draws:
    """The random numbers (N, 17) of a data set's examples, drawn once an epoch and kept for its batches."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: tuple[tuple[int, int], np.ndarray] | None = None

    def of(self, chosen: Chosen) -> np.ndarray:
        """Those of a batch, which depend on seed, epoch and example alone."""
        now = (chosen.seed, chosen.epoch)
        if self._drawn is None or self._drawn[0] != now:
            plain = np.random.default_rng(now).random((self._size, PLAIN_DRAWS))
            surroundings = np.random.default_rng((*now, 1)).random((self._size, DRAWS - PLAIN_DRAWS))
            self._drawn = now, np.concatenate([plain, surroundings], axis=1)
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
