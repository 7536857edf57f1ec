"""The kinds of inputs that an example can have side by side: a picture, a text, a recording."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lantu.data.cleaning_report import Report
from lantu.data.image.decoding import content_key, decoded, unreadable_names
from lantu.data.image.image_data_module import Standardise, channel_statistics
from lantu.data.image.read_picture import Rendering
from lantu.data.image.survey import surveyed
from lantu.data.text.ends_of_texts import encode_beginnings
from lantu.data.text.vocabulary import ENDS, Subwords, Vocabulary, asked_for, check_level, restored
from lantu.errors import UserError

LONGEST = 64
"""Default maximum length of a text in tokens."""


@dataclass(frozen=True)
class Column:
    """One kind of input of N rows, as it was read."""

    values: Any
    """N pictures as bytes (N, H, W, C), N texts, or N waveforms."""
    present: np.ndarray
    """(N,) bool: False where the value is missing or cannot be read."""
    hashes: np.ndarray
    """(N,) uint64 of each value's content; 0 where it is missing."""


class Input(Protocol):
    """A kind of input: how it is read, what is learned of it, and how it becomes a tensor."""

    name: str
    """By which a batch holds it."""

    def read(self, cells: pd.Series, state: dict[str, Any] | None, *, cache: Path, report: Report) -> Column:
        """Read a column; `state` is what `learn` gave in training, None before that."""

    def learn(self, column: Column, rows: np.ndarray) -> dict[str, Any]:
        """What encoding needs to know of the training rows, as plain values."""

    def encode(self, column: Column, state: dict[str, Any]) -> Any:
        """Values (N, ...) as they lie in memory, an array or a tensor; anything where a value is missing."""

    def batch(self, values: Any, state: dict[str, Any]) -> Tensor:
        """Some of the encoded values as a network takes them."""

    def facts(self, state: dict[str, Any]) -> dict[str, Any]:
        """This input's part of `spec`."""


def missing_cell(cell: Any) -> bool:
    """Whether a row has no value: None, NaN, an empty text, or the hub's dict without content."""
    if isinstance(cell, dict):
        return cell.get("bytes") is None and not cell.get("path")
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and np.isnan(cell))


class Pictures:
    """Pictures of one size, standardised per channel: float32 (N, C, H, W).

    Args:
        size: height and width in pixels; None: their own where they agree, else their median, at most 224.
        mean, std: of each channel in [0, 1], as the weights of a pretrained model expect; None: of the training split.
        max_unreadable: share of the pictures that may be left out because they cannot be read.
    """

    name = "image"

    def __init__(
        self,
        *,
        size: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        max_unreadable: float = 0.25,
    ) -> None:
        if (mean is None) != (std is None):
            raise UserError("`data.mean` and `data.std` belong together: give both, or neither.")
        self.size, self.mean, self.std, self.max_unreadable = size, mean, std, max_unreadable

    def read(self, cells: pd.Series, state: dict[str, Any] | None, *, cache: Path, report: Report) -> Column:
        missing = np.array([missing_cell(cell) for cell in cells])
        cells = cells.astype(object).where(~missing, None).reset_index(drop=True)
        content = content_key(cells)
        if state is None:
            if missing.all():
                raise UserError("no row has a picture.")
            found = surveyed(cells[~missing], size=self.size, cache=cache, content=content)
            self._shape, self._rendering = found.shape, found.rendering
            for count, what in found.findings:
                report.note(count, what)
        else:
            height, width, channels = state["shape"]
            self._shape, self._rendering = (height, width, channels), Rendering.restored(state["rendering"])
        pixels = decoded(cells, shape=self._shape, rendering=self._rendering, cache=cache, content=content)
        damaged = {number: why for number, why in pixels.unreadable.items() if not missing[number]}
        names = unreadable_names(cells, damaged)
        report.note(len(damaged), "pictures that could not be read left out", names=names)
        if len(damaged) > self.max_unreadable * (~missing).sum():
            raise UserError(
                f"{len(damaged):,} of {int((~missing).sum()):,} pictures cannot be read: {', '.join(names[:3])}. Mend "
                "or remove them, or type `data.max_unreadable=1` to go on without them."
            )
        return Column(pixels.array, pixels.readable, pixels.hashes)

    def learn(self, column: Column, rows: np.ndarray) -> dict[str, Any]:
        if self.mean is not None and self.std is not None:
            mean, std = ([255 * value for value in each] for each in (self.mean, self.std))
            if not len(mean) == len(std) == self._shape[2]:
                raise UserError(f"`data.mean={self.mean}`: give one number for each of {self._shape[2]} channels.")
        else:
            mean, std = channel_statistics(column.values, rows[column.present[rows]])
        return {"shape": list(self._shape), "rendering": self._rendering.state(), "mean": mean, "std": std}

    def encode(self, column: Column, state: dict[str, Any]) -> np.ndarray:
        return column.values

    def batch(self, values: Any, state: dict[str, Any]) -> Tensor:
        return Standardise(state["mean"], state["std"])(torch.as_tensor(values))

    def facts(self, state: dict[str, Any]) -> dict[str, Any]:
        height, width, channels = state["shape"]
        return {"channels": channels, "height": height, "width": width}


class Texts:
    """Texts as token ids int64 (N, L), padded on the right to one length, with a token at the end of each.

    Args:
        level, vocab_size, min_count, tokenizer: as of `TextDataModule`.
        max_length: maximum tokens of a text, its end included; longer ones are cut. None: that of the longest but one
            in a hundred, at most 64.
    """

    name = "text"

    def __init__(
        self,
        *,
        level: str = "bpe",
        vocab_size: int = 2000,
        min_count: int = 2,
        max_length: int | None = None,
        tokenizer: str | None = None,
    ) -> None:
        check_level(level, ("word", "bpe", "wordpiece", "char"))
        if max_length is not None and max_length < 2:
            raise UserError(f"`data.max_length={max_length}` must be at least 2 tokens: one, and the end.")
        self.options: dict[str, Any] = {
            "level": level, "size": vocab_size, "min_count": min_count, "tokenizer": tokenizer,
        }  # fmt: skip
        self.max_length = max_length

    def read(self, cells: pd.Series, state: dict[str, Any] | None, *, cache: Path, report: Report) -> Column:
        present = np.array([not missing_cell(cell) for cell in cells], dtype=bool)
        texts = [str(cell).strip() if there else "" for cell, there in zip(cells, present, strict=True)]
        return Column(texts, present, np.array([text_hash(text) for text in texts], dtype=np.uint64))

    def learn(self, column: Column, rows: np.ndarray) -> dict[str, Any]:
        texts = [column.values[row] for row in rows if column.present[row]]
        if not texts:
            raise UserError("no training row has a text.")
        vocabulary = asked_for(texts, **self.options)
        if vocabulary.end is None:
            raise UserError(
                f"`data.tokenizer={self.options['tokenizer']}` has no token for the end of a text, where CLIP reads it."
            )
        lengths = [len(tokens) + 1 for tokens in vocabulary.encode_all(texts)]
        longest = self.max_length or min(int(np.quantile(lengths, 0.99, method="higher")), LONGEST)
        end = _end_of(vocabulary)
        pads = (_id_of(vocabulary, name) for name in ("<pad>", "[PAD]"))
        pad = next((found for found in pads if found is not None), end)  # CLIP's and SigLIP's pad with the end
        return {"vocabulary": vocabulary.state(), "max_length": longest, "pad_id": pad, "end_id": end}

    def encode(self, column: Column, state: dict[str, Any]) -> np.ndarray:
        return encoded_texts(column.values, state)

    def batch(self, values: Any, state: dict[str, Any]) -> Tensor:
        return torch.as_tensor(values)

    def facts(self, state: dict[str, Any]) -> dict[str, Any]:
        return {
            "vocab_size": restored(state["vocabulary"]).size,
            "max_length": state["max_length"],
            "pad_id": state["pad_id"],
            "end_id": state["end_id"],
        }


class Audio:
    """Recordings of one length as log-mel spectrograms float32 (N, 1, mels, frames), standardised per mel band.

    Args:
        sample_rate, seconds, mels, window, hop: as of `AudioDataModule`.
    """

    name = "audio"

    def __init__(
        self,
        *,
        sample_rate: int | None = None,
        seconds: float | None = None,
        mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
    ) -> None:
        from lantu.extras import require

        for package in ("soundfile", "soxr", "torchaudio"):
            require(package, "data.audio", "audio")
        self.sample_rate, self.seconds = sample_rate, seconds
        self.mel_options: dict[str, Any] = {"mels": mels, "window": window, "hop": hop}

    def read(self, cells: pd.Series, state: dict[str, Any] | None, *, cache: Path, report: Report) -> Column:
        from lantu.data.audio.recordings import note_findings, read_recordings

        there = np.flatnonzero([not missing_cell(cell) for cell in cells])
        waves = [np.zeros(0, dtype=np.float32)] * len(cells)
        rate = state["rate"] if state else self.sample_rate
        if len(there):
            read = read_recordings([cells.iloc[row] for row in there], rate=rate)
            note_findings(read, report)
            rate = read.rate
            for row, wave in zip(there, read.waves, strict=True):
                waves[row] = wave
        elif state is None:
            raise UserError("no row has a recording.")
        self._rate = rate
        hashes = [_digest(wave.tobytes()) if len(wave) else 0 for wave in waves]
        return Column(waves, np.array([len(wave) > 0 for wave in waves]), np.array(hashes, dtype=np.uint64))

    def learn(self, column: Column, rows: np.ndarray) -> dict[str, Any]:
        waves = [column.values[row] for row in rows if column.present[row]]
        assert self._rate is not None
        longest = self.seconds * self._rate if self.seconds else np.quantile([len(wave) for wave in waves], 0.99)
        state = {"rate": self._rate, "samples": max(int(longest), round(self.mel_options["window"] * self._rate))}
        x = self._features(waves, state)
        mean, std = x.mean(dim=(0, 2)), x.std(dim=(0, 2)).clamp(min=1e-5)
        return {**state, "mean": mean.tolist(), "std": std.tolist()}

    def encode(self, column: Column, state: dict[str, Any]) -> Tensor:
        mean, std = (torch.tensor(state[name])[None, :, None] for name in ("mean", "std"))
        return ((self._features(column.values, state) - mean) / std)[:, None]

    def batch(self, values: Any, state: dict[str, Any]) -> Tensor:
        return values

    def facts(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"audio_channels": 1, "mel_bands": self.mel_options["mels"], "sample_rate": state["rate"]}

    def _features(self, waves: list[np.ndarray], state: dict[str, Any]) -> Tensor:
        from lantu.data.audio.audio_data_module import CHUNK, fitted
        from lantu.data.audio.features import LogMel

        mel = LogMel(rate=state["rate"], **self.mel_options)
        parts = [
            mel(torch.from_numpy(np.stack([fitted(wave, state["samples"]) for wave in waves[first : first + CHUNK]])))
            for first in range(0, len(waves), CHUNK)
        ]
        return torch.cat(parts)


def encoded_texts(texts: list[str], state: dict[str, Any]) -> np.ndarray:
    """Token ids int64 (N, max_length): cut where a text is longer, then the end, then padding."""
    longest = state["max_length"]
    padded = np.full((len(texts), longest), state["pad_id"], dtype=np.int64)
    vocabulary, most = restored(state["vocabulary"]), 2 * longest  # ends within a text are no tokens of it
    for row, text, tokens in zip(padded, texts, encode_beginnings(vocabulary, texts, most), strict=True):
        kept = [token for token in tokens if token != state["end_id"]][: longest - 1]
        if len(kept) < longest - 1 and len(tokens) > most:
            kept = [token for token in vocabulary.encode_all([text])[0] if token != state["end_id"]][: longest - 1]
        row[: len(kept)] = kept
        row[len(kept)] = state["end_id"]
    return padded


def text_hash(text: str) -> int:
    """A hash of a text, the same whatever its case and spaces are."""
    return _digest(" ".join(text.casefold().split()).encode()) if text else 0


def _digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def _end_of(vocabulary: Vocabulary) -> int | None:
    found = _id_of(vocabulary, ENDS[1])
    return vocabulary.end if found is None else found


def _id_of(vocabulary: Vocabulary, name: str) -> int | None:
    return vocabulary.tokenizer.token_to_id(name) if isinstance(vocabulary, Subwords) else None
