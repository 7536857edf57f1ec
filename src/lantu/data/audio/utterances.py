"""Recordings with what is said in them, as examples of speech recognition."""

import unicodedata
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lantu.data.audio.augmentation import Augment, Draws
from lantu.data.audio.features import Standard
from lantu.data.audio.surroundings import Surroundings
from lantu.data.audio.symbols import divided
from lantu.data.samplers import Chosen

BLANK = 0
"""The symbol of "nothing new here" in connectionist temporal classification."""


@dataclass(frozen=True)
class Utterance:
    """A recording and what is said in it."""

    wave: np.ndarray
    text: str
    speaker: str
    """"" where it is not known."""
    name: str
    """The file's name."""


class Utterances(Dataset):
    """Spectrograms (mels, frames) of any length with their transcripts, padded to the longest of a batch.

    Args:
        features: of each recording (mels, frames), standardised by `standard`.
        texts: what is said; None: batches are inputs alone.
        characters: the symbols from 1 on: characters and, with byte pairs, pieces of words.
        standard: how the features were standardised; None: they are waveforms.
        by_recording: give every band of every recording the mean 0 and the deviation 1, after augmentation.
    """

    def __init__(
        self,
        features: list[Tensor],
        texts: list[str] | None,
        characters: list[str],
        *,
        standard: Standard | None = None,
        by_recording: bool = False,
    ) -> None:
        self.features, self.texts = features, texts
        self.lengths = np.array([each.shape[1] for each in features])
        self._numbers = {character: number for number, character in enumerate(characters, start=BLANK + 1)}
        self.standard, self.by_recording, self.augment = standard, by_recording, Augment()
        self.surroundings: Surroundings | None = None
        self._draws = Draws(len(features))
        self.speakers = [""] * len(features)

    def __len__(self) -> int:
        return len(self.features)

    def __getitems__(self, indices: list[int]) -> Any:
        chosen = [self.features[each] for each in indices]
        draws = None
        if self.standard is not None and self.augment.is_on and isinstance(indices, Chosen):
            draws = self._draws.of(indices)
            chosen = [self.augment.at_another_tempo(*each) for each in zip(chosen, draws, strict=True)]
        lengths = torch.tensor([each.shape[1] for each in chosen])
        padded = torch.nn.utils.rnn.pad_sequence([each.T for each in chosen], batch_first=True)
        x = padded.transpose(1, 2).contiguous()
        outside = torch.arange(x.shape[2])[None, None] >= lengths[:, None, None]
        if draws is not None:
            assert self.standard is not None
            augment = replace(self.augment, tempo=0.0)
            x = augment(x[:, None], draws, standard=self.standard, surroundings=self.surroundings, lengths=lengths)
            x = x[:, 0].masked_fill(outside, 0.0)
        if self.by_recording:
            x = _standardised(x, lengths).masked_fill(outside, 0.0)
        inputs = {"features": x, "lengths": lengths}
        if self.texts is None:
            return inputs
        texts = [self.texts[each] for each in indices]
        tokens = [torch.tensor([self._numbers[part] for part in divided(text, self._numbers)]) for text in texts]
        sizes = torch.tensor([len(each) for each in tokens])
        return inputs, {
            "tokens": torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True), "lengths": sizes, "texts": texts,
            "speakers": [self.speakers[each] for each in indices], "frames": lengths,
        }  # fmt: skip


def _standardised(x: Tensor, lengths: Tensor) -> Tensor:
    """(N, mels, frames), zero behind `lengths`, with the mean 0 and the deviation 1 of each band within them."""
    inside = torch.arange(x.shape[2])[None, None] < lengths[:, None, None]
    count = lengths[:, None, None].clamp(min=1)
    apart = x.double()
    apart = (apart - apart.sum(2, keepdim=True) / count) * inside
    deviation = (apart.square().sum(2, keepdim=True) / count).sqrt()
    return (apart / (deviation + 0.01)).float()


def normalised(text: str) -> str:
    """A transcript as it is recognised: lower case, letters, digits and apostrophes, single spaces."""
    text = unicodedata.normalize("NFC", text).lower().replace("\u2019", "'")
    return " ".join("".join(sign if sign.isalnum() or sign == "'" else " " for sign in text).split())
