"""Recordings with one target each: keywords, speakers, sounds."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.audio.audio_folder import own_folder
from lantu.data.audio.augmentation import Augment, Draws
from lantu.data.audio.features import LogMel, Standard, with_deltas
from lantu.data.audio.recordings import note_findings, read_for_prediction, read_recordings, waves_of
from lantu.data.audio.spectrogram_sheet import chosen_for_sheet, first_epoch, spectrogram_sheet
from lantu.data.audio.surroundings import Surroundings
from lantu.data.batches import Examples
from lantu.data.cleaning import under_several_labels
from lantu.data.samplers import Chosen
from lantu.data.sources import Raw
from lantu.data.supervised import SupervisedDataModule, linear_model
from lantu.errors import UserError
from lantu.extras import require

if TYPE_CHECKING:
    from PIL import Image

CHUNK = 256
"""Recordings that are transformed at a time."""


class AudioDataModule(SupervisedDataModule):
    """Recordings as log-mel spectrograms of one length, standardised per mel band.

    Batches are x float32 (N, channels, mels, frames) and the target, so that every network for images takes them.

    Args:
        path: a folder of your own instead of a source (see `lantu.data.audio_folder`).
        audio: the column with the recordings.
        sample_rate: samples per second that all are brought to; None: the one that most recordings have.
        seconds: length that all are brought to, cut at the end or filled up with silence on both sides; None: that of
            the longest but one in a hundred.
        mels, window, hop: of `LogMel`.
        deltas: append first and second differences in time as channels.
        augment: options of `Augment`, for training.
        options: of `SupervisedDataModule`.
    """

    unit = "recordings"
    takes_recordings = True

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        audio: str = "audio",
        sample_rate: int | None = None,
        seconds: float | None = None,
        mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
        deltas: bool = False,
        augment: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        for package in ("soundfile", "soxr", "torchaudio"):
            require(package, "data=audio_folder", "audio")
        super().__init__(source=source or own_folder(path), **options)
        if sample_rate is not None and sample_rate < 1000:
            raise UserError(f"`data.sample_rate={sample_rate}`: at least 1000 samples a second.")
        if seconds is not None and not seconds > 0:
            raise UserError(f"`data.seconds={seconds}` must be more than 0.")
        self.audio, self.sample_rate, self.seconds, self.deltas = audio, sample_rate, seconds, deltas
        self.mel_options = {"mels": mels, "window": window, "hop": hop}
        self.augment = Augment.of(augment)

    def read(self) -> None:
        trained = bool(self.learned)
        self._cut = 0
        super().read()
        self.augment.attach(self.splits["train"], self._mel(), self.report, trained=trained)
        self.report.note(self._cut, f"recordings cut to {self.learned['samples'] / self.learned['rate']:.2f} s")

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        if self.audio not in rows:
            raise UserError(f"`data.audio={self.audio}`: {raw.name} has the columns {', '.join(rows.columns)}.")
        self._read = read_recordings(rows[self.audio].tolist(), rate=self.learned.get("rate") or self.sample_rate)
        rows[self.audio] = np.arange(len(rows))  # from here on a recording is its place among those read
        note_findings(self._read, self.report)
        if self.target in rows:
            kept = np.flatnonzero(self._read.readable)
            digests = np.array([_digest(self._read.waves[place]) for place in kept], dtype=np.uint64)
            if count := under_several_labels(digests, rows[self.target].iloc[kept]):
                several = "recordings occur" if count > 1 else "recording occurs"
                self.report.warn(
                    f"{count:,} {several} under more than one class, sample for sample; look at their labels"
                )
        return self._read.readable

    def augmented_sample(self) -> "Image.Image | None":
        """Spectrograms of some training recordings, each beside itself as the first epoch has it; None: none is
        changed."""
        train = self.splits["train"]
        assert isinstance(train, Spectrograms)
        if not train.augment.is_on:
            return None
        chosen = chosen_for_sheet(len(train))
        (plain, y), (changed, _) = train.__getitems__(chosen), train.__getitems__(first_epoch(chosen))
        names = self.spec.get("class_names")
        texts = [names[int(each)] if names else f"{each:g}" for each in y.ravel().tolist()]
        return spectrogram_sheet(list(plain[:, 0]), list(changed[:, 0]), texts=texts)

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        target = pd.util.hash_array(rows[self.target].astype(str).to_numpy(dtype=object))
        own = [_digest(self._read.waves[place]) for place in rows[self.audio]]
        return np.array(own, dtype=np.uint64) ^ target

    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        rate = self._read.rate
        lengths = np.array([len(self._read.waves[place]) for place in rows[self.audio]])
        samples = int(self.seconds * rate) if self.seconds else int(np.quantile(lengths, 0.99))
        self.learned = {**self.learned, "rate": rate, "samples": max(samples, round(self.mel_options["window"] * rate))}
        x = self._features([self._read.waves[place] for place in rows[self.audio]])
        mean, std = x.mean(dim=(0, 3)), x.std(dim=(0, 3)).clamp(min=1e-5)
        return {"rate": rate, "samples": self.learned["samples"], "mean": mean.tolist(), "std": std.tolist()}

    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Examples:
        waves = [self._read.waves[place] for place in rows[self.audio]]
        self._cut += sum(len(wave) > self.learned["samples"] for wave in waves)
        return self._examples(waves, y)

    def facts(self) -> dict[str, Any]:
        channels, mels = len(self.learned["mean"]), self.mel_options["mels"]
        frames = self._mel().frames(self.learned["samples"])
        return {
            "kind": "audio",
            "channels": channels,
            "height": mels,
            "mel_bands": mels,
            "width": frames,
            "features": channels * mels * frames,
            "sample_rate": self.learned["rate"],
        }

    def schema(self) -> list[dict[str, str]]:
        return [{"name": f"{self.audio} at {self.learned['rate']} Hz", "type": "binary"}]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        waves, files = read_for_prediction(path, rate=self.learned["rate"])
        return self.loader(self._examples(waves, None)), pd.DataFrame({"audio": files})

    def examples_of(self, inputs: Any) -> Examples:
        """Waveforms (samples,) at the training's sample rate, or encoded files as bytes."""
        return self._examples(waves_of(inputs, rate=self.learned["rate"]), None)

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        examples = self.splits[split]
        assert isinstance(examples, Spectrograms)
        x = examples.x[rows, 0]
        assert examples.y is not None
        quarters = [part.mean(-1) for part in x.tensor_split(4, dim=-1)]
        summary = torch.cat([x.mean(-1), x.std(-1), *quarters], dim=1)
        return summary.numpy(), examples.y[rows].numpy().ravel()

    def classical_model(self, *, classifies: bool, shape: tuple[int, int]) -> tuple[str, Any]:
        if not classifies:
            return linear_model(classifies=False)
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        return "SVM on mel statistics", make_pipeline(StandardScaler(), SVC(probability=True, C=10))

    def _mel(self) -> LogMel:
        return LogMel(rate=self.learned["rate"], **self.mel_options)  # type: ignore[arg-type]

    def _features(self, waves: list[np.ndarray]) -> Tensor:
        """(N, channels, mels, frames), not yet standardised."""
        mel, samples = self._mel(), self.learned["samples"]
        parts = []
        for first in range(0, len(waves), CHUNK):
            x = mel(torch.from_numpy(np.stack([fitted(wave, samples) for wave in waves[first : first + CHUNK]])))
            parts.append(with_deltas(x) if self.deltas else x[:, None])
        return torch.cat(parts)

    def _examples(self, waves: list[np.ndarray], y: Tensor | None) -> "Spectrograms":
        standard = Standard.of(self.learned["mean"], self.learned["std"])
        return Spectrograms(standard.applied(self._features(waves)), y, standard=standard)


class Spectrograms(Examples):
    """Spectrograms (N, channels, mels, frames) in memory; those of a training batch are changed at random."""

    def __init__(self, x: Tensor, y: Tensor | None, *, standard: Standard) -> None:
        super().__init__(x, y)
        self.standard = standard
        self.augment = Augment()
        self.surroundings: Surroundings | None = None
        self._draws = Draws(len(self))

    def __getitems__(self, indices: list[int]) -> Any:
        batch = super().__getitems__(indices)
        if not self.augment.is_on or not isinstance(indices, Chosen) or self.y is None:
            return batch
        x, y = batch
        draws = self._draws.of(indices)
        return self.augment(x, draws, standard=self.standard, surroundings=self.surroundings), y


def fitted(wave: np.ndarray, samples: int) -> np.ndarray:
    """A waveform of one length: cut at the end, or with silence on both sides."""
    if len(wave) >= samples:
        return wave[:samples]
    before = (samples - len(wave)) // 2
    return np.pad(wave, (before, samples - len(wave) - before))


def _digest(wave: np.ndarray) -> int:
    return int.from_bytes(blake2b(wave.tobytes(), digest_size=8).digest(), "little")
