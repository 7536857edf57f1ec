"""Noise and rooms from folders, added to the log-mel spectrograms of training recordings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lantu.data.audio.features import FLOOR, LogMel
from lantu.data.audio.recordings import audio_files, note_findings, read_recordings
from lantu.data.cleaning_report import Report
from lantu.errors import UserError

LONGEST_RESPONSE = 0.5
"""Seconds of an impulse response that are used."""


@dataclass(frozen=True)
class Surroundings:
    """Mel power spectrograms of noise, and of rooms' impulse responses.

    Powers of independent sounds add up, and the power of late reverberation is that of the sound before, decayed. So
    both are worked on the mel power of a batch, without its waveforms.
    """

    noise: Tensor | None = None
    """(mels, frames) of all recordings, one after the other."""
    responses: Tensor | None = None
    """(rooms, mels, frames), each band with the sum 1: a room colours the time, not the loudness."""

    @classmethod
    def read(cls, *, noise: str | None, reverb: str | None, mel: LogMel, report: Report) -> "Surroundings":
        """From folders of recordings.

        Raises:
            UserError: a folder that is not there, or that holds no recording that can be read.
        """
        found: dict[str, Tensor] = {}
        if noise is not None:
            waves = _waves(noise, "noise", mel, report)
            found["noise"] = torch.cat([_power(wave, mel) for wave in waves], dim=1)
        if reverb is not None:
            longest = max(1, round(LONGEST_RESPONSE * mel.rate / mel.hop_length))
            rooms = torch.zeros(0, mel.mels, longest)
            for wave in _waves(reverb, "reverb", mel, report):
                power = _power(wave[np.abs(wave).argmax() :], mel)[:, :longest]
                power = F.pad(power, (0, longest - power.shape[1]))
                power[power.sum(dim=1) < FLOOR / 1000, 0] = 1.0  # a band that the recording lacks passes as it is
                rooms = torch.cat([rooms, (power / power.sum(dim=1, keepdim=True))[None]])
            found["responses"] = rooms
        return cls(**found)

    def in_a_room(self, power: Tensor, which: Tensor) -> Tensor:
        """Mel power (N, mels, frames) as it is heard in rooms.

        Args:
            which: numbers (N,) in [0, 1) that choose a room.
        """
        assert self.responses is not None
        rooms = self.responses[(which * len(self.responses)).long()]
        size, mels, frames = power.shape
        length = rooms.shape[2]
        alone = F.pad(power.reshape(1, size * mels, frames), (length - 1, 0))
        reverberant = F.conv1d(alone, rooms.flip(2).reshape(size * mels, 1, length), groups=size * mels)
        return reverberant.view(size, mels, frames)

    def with_noise(self, power: Tensor, *, begin: Tensor, decibels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mel power (N, mels, frames) with a stretch of noise.

        Args:
            begin: numbers (N,) in [0, 1) that choose the stretch.
            decibels: (N,), the power of a recording to that of the noise.
            lengths: (N,) frames of each recording, behind which the power is 0; None: all.
        """
        assert self.noise is not None
        length, frames = self.noise.shape[1], power.shape[2]
        places = (begin * length).long()[:, None] + torch.arange(frames)
        noise = self.noise[:, places % length].transpose(0, 1)
        own = power.mean(dim=(1, 2)) * (1.0 if lengths is None else frames / lengths.clamp(min=1))
        share = own / noise.mean(dim=(1, 2)).clamp(min=FLOOR) / 10 ** (decibels / 10)
        return power + share[:, None, None] * noise


def _waves(folder: str, option: str, mel: LogMel, report: Report) -> list[np.ndarray]:
    path = Path(folder).expanduser()
    files = audio_files(path) if path.is_dir() else []
    if not files:
        raise UserError(f"`data.augment.{option}={folder}`: a folder with recordings (WAV, FLAC, OGG, MP3).")
    read = read_recordings([str(file) for file in files], rate=mel.rate)
    note_findings(read, report)
    waves = [wave for wave in read.waves if len(wave)]
    seconds = sum(map(len, waves)) / mel.rate
    report.say(f"augmented by {option}: {len(waves):,} recordings, {seconds:,.0f} s, of {folder}")
    return waves


def _power(wave: np.ndarray, mel: LogMel) -> Tensor:
    """(mels, frames)."""
    return (mel(torch.from_numpy(wave)[None])[0].exp() - FLOOR).clamp(min=0)
