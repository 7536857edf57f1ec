"""Recordings with a transcript as waveforms, for models that generate speech."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lantu.data.audio.augmentation import Draws
from lantu.data.audio.recordings import read_for_prediction
from lantu.data.audio.transcription import SpeechDataModule
from lantu.data.audio.utterances import Utterance, normalised
from lantu.data.samplers import Chosen
from lantu.errors import UserError
from lantu.notices import warn_once

SILENCE = 128
"""The mu-law code of 0."""
PAUSES = ".,?!"
"""Signs that are kept beside letters, digits and apostrophes: they change pauses and intonation."""


class SynthesisDataModule(SpeechDataModule):
    """Waveforms as mu-law codes, with the log-mel frames and the characters of the whole recording.

    Training takes stretches of `segment` seconds, each beginning at a random frame about its own place, so that an
    epoch has every recording once; validation and test take whole recordings. Batches are what
    `lantu.models.WaveNet.forward` takes, and y = {"samples": how many of each are scored (N,), "rows": their numbers}.

    Args:
        segment: seconds of a recording that a training example is scored on.
        longest: seconds of the longest recording that is trained on: aligning long ones with their text is slow.
        lead_in: seconds before a stretch that are shown to the network and not scored.
        options: of `SpeechDataModule`.
    """

    example = "synthesis_folder"

    def __init__(self, *, segment: float = 0.5, longest: float = 12.0, lead_in: float = 0.07, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < segment <= longest or lead_in < 0:
            raise UserError("`data.segment` and `data.lead_in` are seconds: the first above 0, at most `data.longest`.")
        self.segment, self.longest, self.lead_in = segment, longest, lead_in

    def written(self, text: str) -> str:
        """Lower case with pauses, and a space at both ends for the silence there."""
        marked = "".join(f" {sign} " if sign in PAUSES else sign for sign in text)
        words = [part if part in PAUSES else normalised(part) for part in marked.split()]
        sentence = " ".join(word for word in words if word)
        for sign in PAUSES:
            sentence = sentence.replace(f" {sign}", sign)
        return f" {sentence} " if any(sign.isalnum() for sign in sentence) else ""

    def selected(
        self, utterances: list[Utterance], split: np.ndarray, *, rate: int
    ) -> tuple[list[Utterance], np.ndarray]:
        hop = self._hop(rate)
        short = [each for each in utterances if len(each.wave) // hop < len(each.text) + 1]
        long = [
            each
            for each, part in zip(utterances, split, strict=True)
            if part == "train" and len(each.wave) > self.longest * rate
        ]
        minutes = sum(len(each.wave) for each in long) / rate / 60
        self.report.note(
            len(short), "recordings with fewer frames than characters left out", names=[s.name for s in short]
        )
        self.report.note(
            len(long), f"training recordings of more than {self.longest:g} s left out ({minutes:.1f} minutes)",
            names=[each.name for each in long],
        )  # fmt: skip
        out = {id(each) for each in [*short, *long]}
        kept = np.array([id(each) not in out for each in utterances])
        return [each for each in utterances if id(each) not in out], split[kept]

    def learn(self, utterances: list[Utterance], rate: int) -> dict[str, Any]:
        speakers = sorted({each.speaker for each in utterances})
        return {**super().learn(utterances, rate), "speakers": speakers}

    def facts(self) -> dict[str, Any]:
        return {
            "kind": "waveform",
            "bands": self.mel_options["mels"],
            "characters": self.learned["characters"],
            "symbols": len(self.learned["characters"]),
            "voices": len(self.learned["speakers"]),
            "hop": self._hop(self.learned["rate"]),
            "speakers": self.learned["speakers"],
            "sample_rate": self.learned["rate"],
        }

    def examples(self, utterances: list[Utterance], split: str) -> "Stretches":
        unknown = sorted({each.speaker for each in utterances} - set(self.learned["speakers"]))
        self.report.note(
            len(unknown), f"speakers of {split} that training lacks, conditioned as the first speaker", names=unknown
        )
        frames = round(self.segment * self.learned["rate"] / self._hop(self.learned["rate"]))
        return self._stretches(utterances, segment=max(1, frames) if split == "train" else None)

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """Recordings, to be spoken again from their log-mel frames."""
        waves, files = read_for_prediction(path, rate=self.learned["rate"])
        utterances = [
            Utterance(wave, " ", self.learned["speakers"][0], file) for wave, file in zip(waves, files, strict=True)
        ]
        return self.loader(self._stretches(utterances, targets=False)), pd.DataFrame({"audio": files})

    def tokens_of(self, texts: list[str]) -> dict[str, Tensor]:
        """Texts as a batch of characters: "tokens" (N, L) and "token_lengths" (N,).

        Raises:
            UserError: a text has no character that the training transcripts have.
        """
        numbers = self._numbers()
        found = []
        for text in texts:
            known = [numbers[sign] for sign in self.written(text) if sign in numbers]
            if len(known) < 3:
                raise UserError(f"`prompt={text!r}`: none of its characters is in the training transcripts.")
            if lost := [sign for sign in _letters(text) if sign not in numbers]:
                warn_once(f"`prompt={text!r}`: no training transcript has {', '.join(lost)}, so it is not spoken.")
            found.append(torch.tensor(known))
        sizes = torch.tensor([len(each) for each in found])
        return {"tokens": torch.nn.utils.rnn.pad_sequence(found, batch_first=True), "token_lengths": sizes}

    def examples_of(self, inputs: Any) -> Any:
        raise UserError("A synthesis model is asked for speech by a prompt: it takes text, not recordings.")

    def schema(self) -> list[dict[str, str]]:
        return [{"name": "text", "type": "string"}]

    def _numbers(self) -> dict[str, int]:
        return {sign: number for number, sign in enumerate(self.learned["characters"], start=1)}

    def _hop(self, rate: int) -> int:
        from lantu.data.audio.features import LogMel

        return LogMel(rate=rate, **self.mel_options).hop_length

    def _stretches(
        self, utterances: list[Utterance], *, segment: int | None = None, targets: bool = True
    ) -> "Stretches":
        from torchaudio.functional import mu_law_encoding

        mel, numbers, hop = self.log_mel(), self._numbers(), self._hop(self.learned["rate"])
        mean, std = (torch.tensor(self.learned[name])[:, None] for name in ("mean", "std"))
        place = {name: number for number, name in enumerate(self.learned["speakers"])}
        recordings = []
        for each in utterances:
            frames = -(-len(each.wave) // hop)
            wave = torch.from_numpy(each.wave)
            mels = (mel(wave[None])[0, :, :frames] - mean) / std
            tokens = torch.tensor([numbers[sign] for sign in each.text if sign in numbers], dtype=torch.long)
            recordings.append(
                Recording(
                    mu_law_encoding(wave.clamp(-1, 1), 256).to(torch.uint8),
                    mels,
                    tokens,
                    place.get(each.speaker, 0),
                    each.text,
                )
            )
        context = -(-round(self.lead_in * self.learned["rate"]) // hop)
        return Stretches(recordings, hop=hop, segment=segment, context=context, targets=targets)

    def _order(self, split: str) -> dict[str, Any]:
        from lantu.data.data_module import DataModule

        examples = self.splits[split]
        assert isinstance(examples, Stretches)
        return {**DataModule._order(self, split), "lengths": examples.lengths}


def _letters(text: str) -> list[str]:
    """The different characters of a text, in lower case, without spaces and punctuation."""
    signs = dict.fromkeys(unicodedata.normalize("NFC", text).lower())
    return [sign for sign in signs if not sign.isspace() and not unicodedata.category(sign).startswith("P")]


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording as the network takes it."""

    codes: Tensor
    """uint8 (samples,)."""
    mels: Tensor
    """Standardised (bands, frames)."""
    tokens: Tensor
    """(characters,)."""
    speaker: int
    text: str


class Stretches(Dataset):
    """Stretches of recordings, or whole ones.

    Args:
        recordings: (samples,) codes, (bands, frames) log-mels, (characters,) tokens each.
        hop: samples of a frame.
        segment: frames that an example is scored on; None: the whole recording.
        context: frames before them.
        targets: give (x, y); otherwise x alone.
    """

    def __init__(
        self, recordings: list[Recording], *, hop: int, segment: int | None, context: int, targets: bool = True
    ) -> None:
        self.targets = targets
        self.recordings, self.hop, self.segment, self.context = recordings, hop, segment, context
        self.texts = [each.text for each in recordings]
        frames = [each.mels.shape[1] for each in recordings]
        counts = [1 if segment is None else max(1, round(each / segment)) for each in frames]
        self._of = np.repeat(np.arange(len(recordings)), counts)
        self._number = np.concatenate([np.arange(count) for count in counts])
        self._draws = Draws(len(self._of))
        self.lengths = np.array(frames)[self._of]
        """Frames of each example's whole recording."""

    def __len__(self) -> int:
        return len(self._of)

    def __getitems__(self, indices: list[int]) -> Any:
        chosen = [self.recordings[self._of[each]] for each in indices]
        lengths = torch.tensor([each.mels.shape[1] for each in chosen])
        begin, first, last = self._windows(indices, lengths)
        window = int((last - begin).max())
        codes = torch.full((len(chosen), window * self.hop), SILENCE)
        ends = torch.zeros(len(chosen), dtype=torch.long)
        for row, each in enumerate(chosen):
            own = each.codes[int(begin[row]) * self.hop : int(last[row]) * self.hop]
            codes[row, : len(own)] = own.long()
            ends[row] = len(own)
        scored = ends - (first - begin) * self.hop
        pad = torch.nn.utils.rnn.pad_sequence
        x = {
            "codes": codes, "begin": begin, "ends": ends, "scored": scored, "lengths": lengths,
            "mels": pad([each.mels.T for each in chosen], batch_first=True).transpose(1, 2).contiguous(),
            "tokens": pad([each.tokens for each in chosen], batch_first=True),
            "token_lengths": torch.tensor([len(each.tokens) for each in chosen]),
            "speaker": torch.tensor([each.speaker for each in chosen]),
        }  # fmt: skip
        if not self.targets:
            return x
        return x, {"samples": scored, "texts": [each.text for each in chosen]}

    def _windows(self, indices: list[int], lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each example the first frame that is shown, the first that is scored, and where those end."""
        if self.segment is None:
            zero = torch.zeros_like(lengths)
            return zero, zero, lengths
        jitter = self._draws.of(indices)[:, 0] - 0.5 if isinstance(indices, Chosen) else np.zeros(len(indices))
        place = torch.from_numpy(np.round((self._number[indices] + jitter) * self.segment).astype(np.int64))
        first = torch.minimum(place, lengths - self.segment).clamp(min=0)
        begin = (first - self.context).clamp(min=0)
        first = torch.where(begin == 0, 0, first)  # from a recording's beginning everything is scored
        return begin, first, torch.minimum(begin + self.context + self.segment, lengths)
