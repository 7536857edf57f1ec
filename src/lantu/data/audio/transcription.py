"""Recordings with a transcript, for speech recognition."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from lantu.data.audio.audio_folder import own_folder
from lantu.data.audio.augmentation import Augment
from lantu.data.audio.duration_batches import DurationBatches
from lantu.data.audio.features import WHISPER_RATE, LogMel, Standard, WhisperMel
from lantu.data.audio.recordings import (
    name_of,
    note_findings,
    read_for_prediction,
    read_recordings,
    waves_of,
)
from lantu.data.audio.spectrogram_sheet import chosen_for_sheet, first_epoch, spectrogram_sheet
from lantu.data.audio.symbols import learned_symbols, unknown_parts, whole_words
from lantu.data.audio.utterances import Utterance, Utterances, normalised
from lantu.data.cleaning_report import counted
from lantu.data.data_module import DataModule
from lantu.data.samplers import TrainingBatches
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, completed
from lantu.errors import UserError
from lantu.extras import require
from lantu.renamed_options import value_of_renamed

if TYPE_CHECKING:
    from PIL import Image

FEATURES = ("mels", "waveform", "whisper_mels")


class SpeechDataModule(DataModule):
    """Recordings and what is said in them, by characters.

    Batches are x = {"features": float32 (N, mels, frames), "lengths": frames of each (N,)}, filled up with zeros behind
    each recording, and y = {"tokens": (N, characters), "lengths": (N,), "texts": N strings}. Recordings of similar
    length share a batch.

    Args:
        source: gives the rows (`lantu.data.audio_folder`, `lantu.data.joined_recordings`).
        path: a folder of your own instead of a source.
        audio, transcript: the columns.
        speaker: the column with the speaker's name; of no effect where the source has none.
        sample_rate: samples per second that all are brought to; None: the one that most recordings have.
        features: mels; waveform: samples (N, 1, samples) of zero mean and unit variance in each recording, as
            wav2vec 2.0 reads them; or whisper_mels: `WhisperMel`.
        mels, window, hop: of `LogMel`.
        normalise: training: log-mels are standardised by the mean and deviation of the training split; recording: then
            also by those of the recording itself (cepstral mean and variance normalisation), which takes away what is
            constant of a voice, a microphone or a room, and needs the whole recording.
        symbols: of the recogniser: characters, or words: the whole words of the training transcripts, for a small
            vocabulary.
        byte_pairs: number of symbols, pieces of words among them, learned from the training transcripts; None:
            characters alone.
        augment: options of `Augment`, for training.
        batch_seconds: seconds of a training batch, padding counted: recordings of similar duration share a batch, of
            long ones fewer. None: `batch_size` recordings.
        inputs: the name that `features` had before.
        options: of `DataModule`.
    """

    unit = "recordings"
    takes_recordings = True
    example = "speech_folder"
    """A config of conf/data that uses the class, for messages."""

    def __init__(
        self,
        *,
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        audio: str = "audio",
        transcript: str = "transcription",
        speaker: str = "speaker",
        sample_rate: int | None = None,
        features: str = "mels",
        mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
        normalise: str = "training",
        symbols: str = "characters",
        byte_pairs: int | None = None,
        augment: dict[str, Any] | None = None,
        batch_seconds: float | None = None,
        inputs: str | None = None,
        **options: Any,
    ) -> None:
        features = value_of_renamed(features, inputs, old="data.inputs", new="data.features")
        for package in ("soundfile", "soxr", "torchaudio"):
            require(package, f"data={self.example}", "audio")
        super().__init__(**options)
        self.source = source or own_folder(path)
        self.audio, self.transcript, self.speaker, self.sample_rate = audio, transcript, speaker, sample_rate
        if features not in FEATURES:
            raise UserError(f"`data.features={features}`: the network is given {', '.join(FEATURES)}.")
        if features != "mels" and augment:
            raise UserError(
                f"`data.augment` changes log-mels of `data.features=mels`: with {features}, type `data.augment={{}}`."
            )
        if features == "whisper_mels" and sample_rate != WHISPER_RATE:
            raise UserError(f"`data.features=whisper_mels` need `data.sample_rate={WHISPER_RATE}`, as Whisper hears.")
        if normalise not in ("training", "recording"):
            raise UserError(
                f"`data.normalise={normalise}`: log-mels are standardised by the training split or by each recording: "
                "training or recording."
            )
        if symbols not in ("characters", "words"):
            raise UserError(f"`data.symbols={symbols}`: the symbols of a recogniser are characters or words.")
        if symbols == "words" and byte_pairs is not None:
            raise UserError(f"`data.byte_pairs={byte_pairs}` are pieces of words: they need `data.symbols=characters`.")
        self.normalise, self.symbols, self.byte_pairs = normalise, symbols, byte_pairs
        if batch_seconds is not None and not batch_seconds > 0:
            raise UserError(f"`data.batch_seconds={batch_seconds}` must be more than 0, or null.")
        self.features, self.batch_seconds = features, batch_seconds
        self._resumed_seconds = batch_seconds
        if batch_seconds is not None:
            self.training_batches = self._batches_by_duration
        self.mel_options: dict[str, Any] = {"mels": mels, "window": window, "hop": hop}
        self.augment = Augment.of(augment)

    def read(self) -> None:
        raw = self.source()
        self._origin = raw
        for option, column in (("audio", self.audio), ("transcript", self.transcript)):
            if column not in raw.rows:
                raise UserError(f"`data.{option}={column}`: {raw.name} has the columns {', '.join(raw.rows.columns)}.")
        texts = raw.rows[self.transcript].map(lambda text: "" if pd.isna(text) else self.written(str(text)))
        self.report.note(int((texts == "").sum()), "recordings without a transcript left out")
        kept = (texts != "").to_numpy()
        if not kept.any():
            raise UserError(f"`data.transcript={self.transcript}`: no recording of {raw.name} has a transcript.")
        rows, split, texts = raw.rows[kept].reset_index(drop=True), raw.split[kept], texts[kept].reset_index(drop=True)
        read = read_recordings(rows[self.audio].tolist(), rate=self.learned.get("rate") or self.sample_rate)
        note_findings(read, self.report)
        rows, split, texts = rows[read.readable].reset_index(drop=True), split[read.readable], texts[read.readable]
        waves = [wave for wave in read.waves if len(wave)]
        split = completed(split, self.shares, strata=np.zeros(len(split), dtype=int), seed=self.split_seed)
        speakers = rows[self.speaker].astype(str).tolist() if self.speaker in rows else [""] * len(rows)
        names = [name_of(cell, number) for number, cell in enumerate(rows[self.audio])]
        utterances = [Utterance(*each) for each in zip(waves, texts.tolist(), speakers, names, strict=True)]
        utterances, split = self.selected(utterances, split, rate=read.rate)
        trained = bool(self.learned)
        if not trained:
            self.learned = self.learn(
                [each for each, part in zip(utterances, split, strict=True) if part == "train"], read.rate
            )
        self._fill(utterances, split)
        self.augment.attach(self.splits["train"], self.log_mel(), self.report, trained=trained)
        self.spec = self.facts()
        minutes = sum(len(each.wave) for each in utterances) / self.learned["rate"] / 60
        self.report.title = f"{raw.name}: {len(utterances):,} recordings, {minutes:.0f} minutes of speech"

    def augmented_sample(self) -> "Image.Image | None":
        """Spectrograms of some training recordings, each beside itself as the first epoch has it; None: none is
        changed."""
        train = self.splits["train"]
        if not isinstance(train, Utterances) or not train.augment.is_on:
            return None
        chosen = chosen_for_sheet(len(train))
        # each by itself, since masks are a share of a batch's frames, and a batch has recordings of similar length
        changed = [train.__getitems__(first_epoch([each]))[0]["features"][0] for each in chosen]
        texts = [train.texts[each] if train.texts else "" for each in chosen]
        return spectrogram_sheet([train.features[each] for each in chosen], changed, texts)

    def written(self, text: str) -> str:
        """A transcript with the characters that the model knows; "" where nothing is left of it."""
        return normalised(text)

    def selected(
        self, utterances: list[Utterance], split: np.ndarray, *, rate: int
    ) -> tuple[list[Utterance], np.ndarray]:
        """The recordings that can be used, and their parts; `report` says what was left out."""
        return utterances, split

    def facts(self) -> dict[str, Any]:
        """The spec."""
        return {
            "kind": "speech",
            "bands": 1 if self.features == "waveform" else self.mel_options["mels"],
            "front_end": self.features,
            "outputs": len(self.learned["characters"]) + 1,
            "characters": self.learned["characters"],
            "sample_rate": self.learned["rate"],
            "frame_seconds": self.frame_seconds,
        }

    @property
    def frame_seconds(self) -> float:
        """From one input of the network to the next."""
        rate: int = self.learned["rate"]
        return {
            "mels": self.log_mel().hop_length / rate,
            "waveform": 1 / rate,
            "whisper_mels": WhisperMel().hop_length / rate,
        }[self.features]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        waves, files = read_for_prediction(path, rate=self.learned["rate"])
        return self.loader(self._examples(waves)), pd.DataFrame({"audio": files})

    def examples_of(self, inputs: Any) -> Dataset:
        """Waveforms (samples,) at the training's sample rate, or encoded files as bytes."""
        return self._examples(waves_of(inputs, rate=self.learned["rate"]))

    def schema(self) -> list[dict[str, str]]:
        return [{"name": f"{self.audio} at {self.learned['rate']} Hz", "type": "binary"}]

    def origin(self) -> dict[str, Any]:
        source = str(self._origin.source.get("uri", ""))
        return {"name": self._origin.name, "source_type": self._origin.source_type, "source": source, "schema": None}

    def learn(self, utterances: list[Utterance], rate: int) -> dict[str, Any]:
        """What is kept of the training recordings: rate, characters, mean and spread of each mel band."""
        if not utterances:
            lost = "; ".join(self.report.lines()[1:])
            raise UserError(f"{self._origin.name}: no recording is left to train on ({lost}).")
        mel = LogMel(rate=rate, **self.mel_options)
        texts = [each.text for each in utterances]
        frames = torch.cat([mel(torch.from_numpy(each.wave)[None])[0] for each in utterances], dim=1)
        return {
            "rate": rate,
            "characters": whole_words(texts) if self.symbols == "words" else learned_symbols(texts, self.byte_pairs),
            "mean": frames.mean(1).tolist(),
            "std": frames.std(1).clamp(min=1e-5).tolist(),
        }

    def examples(self, utterances: list[Utterance], split: str) -> Dataset:
        """The examples of a split."""
        found = self._examples([each.wave for each in utterances], [each.text for each in utterances])
        found.speakers = [each.speaker for each in utterances]
        return found

    def log_mel(self) -> LogMel:
        """Log-mel spectrograms as in training."""
        return LogMel(rate=self.learned["rate"], **self.mel_options)

    def _fill(self, utterances: list[Utterance], split: np.ndarray) -> None:
        unknown = unknown_parts([each.text for each in utterances], self.learned["characters"])
        self.report.note(len(unknown), f"{self.symbols} that no training transcript has", names=unknown)
        self._warn_of_copies(utterances, split)
        for name in SPLITS:
            chosen = [each for each, part in zip(utterances, split, strict=True) if part == name]
            if name != "train":  # of similar length in a batch; training is ordered in every epoch
                chosen.sort(key=lambda each: len(each.wave))
            if chosen:
                self.splits[name] = self.examples(chosen, name)
                self.report.sizes[name] = len(chosen)
                digest = blake2b(digest_size=16)
                for each in chosen:
                    digest.update(each.wave.tobytes() + each.text.encode())
                self.fingerprints[name] = digest.hexdigest()

    def _warn_of_copies(self, utterances: list[Utterance], split: np.ndarray) -> None:
        """Say how many held-out recordings are in training too, sample by sample."""
        hashes = [blake2b(each.wave.tobytes(), digest_size=16).digest() for each in utterances]
        trained = {each for each, part in zip(hashes, split, strict=True) if part == "train"}
        copies = sum(part != "train" and each in trained for each, part in zip(hashes, split, strict=True))
        if copies:
            found = counted(copies, "recordings of validation and test are in training too")
            self.report.warn(f"{found}; scores on them say nothing of new recordings")

    def _examples(self, waves: list[np.ndarray], texts: list[str] | None = None) -> Utterances:
        if self.features == "waveform":
            raw = [torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None] for wave in waves]
            return Utterances(raw, texts, self.learned["characters"])
        if self.features == "whisper_mels":
            whisper = WhisperMel(mels=self.mel_options["mels"])
            return Utterances([whisper(torch.from_numpy(wave)) for wave in waves], texts, self.learned["characters"])
        mel, standard = self.log_mel(), Standard.of(self.learned["mean"], self.learned["std"])
        features = [standard.applied(mel(torch.from_numpy(wave)[None]))[0] for wave in waves]
        return Utterances(
            features,
            texts,
            self.learned["characters"],
            standard=standard,
            by_recording=self.normalise == "recording",
        )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "batch_seconds": self.batch_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._resumed_seconds = state_dict.get("batch_seconds")

    def batches_done(self, batches: int, *, batch_size: int) -> int:
        if self._resumed_seconds != self.batch_seconds:
            before = "null" if self._resumed_seconds is None else f"{self._resumed_seconds:g}"
            raise UserError(
                f"the checkpoint lies inside an epoch of batches with `data.batch_seconds={before}`: go on with that."
            )
        return batches if self.batch_seconds else super().batches_done(batches, batch_size=batch_size)

    def _batches_by_duration(self, size: int, *, lengths: np.ndarray, **options: Any) -> TrainingBatches:
        assert self.batch_seconds is not None
        return DurationBatches(lengths * self.frame_seconds, budget=self.batch_seconds, **options)

    def _order(self, split: str) -> dict[str, Any]:
        examples = self.splits[split]
        assert isinstance(examples, Utterances)
        return {**super()._order(split), "lengths": examples.lengths}
