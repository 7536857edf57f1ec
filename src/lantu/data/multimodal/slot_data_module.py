"""Recordings of commands with an intent and slots, such as {drink: latte, size: large}: speech straight to meaning."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.audio.audio_data_module import Spectrograms
from lantu.data.audio.audio_folder import own_folder
from lantu.data.audio.augmentation import Augment
from lantu.data.audio.features import LogMel, Standard
from lantu.data.audio.recordings import read_for_prediction, waves_of
from lantu.data.data_module import DataModule
from lantu.data.multimodal.input_kinds import Audio, Column, missing_cell
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, check_sizes, completed
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

UNKNOWN = -1
"""The number of a value that no training recording has."""
VOICES = 4
"""Recordings of which babble is mixed."""


@dataclass(frozen=True)
class Slot:
    """What a slot can hold."""

    name: str
    values: list[str]
    """The first is "": the slot is not filled."""
    prefixes: list[str]
    """What can stand before a value, such as "a lot of"; the first is "". Empty: values are not divided."""

    @property
    def sizes(self) -> list[int]:
        """How many values each of its choices has: the value, and the prefix where there are any."""
        return [len(self.values), *([len(self.prefixes)] if self.prefixes else [])]

    def encode(self, text: str, prefixes: Iterable[str]) -> list[int]:
        """The number of each choice; `UNKNOWN` for what training lacks."""
        prefix, value = divided(text, prefixes) if self.prefixes else ("", text)
        known = [self.values.index(value) if value in self.values else UNKNOWN]
        if self.prefixes:
            known.append(self.prefixes.index(prefix) if prefix in self.prefixes else UNKNOWN)
        return known

    def decode(self, numbers: list[int]) -> str:
        """The text of a choice; "" where the slot is not filled, "?" where training lacks the value."""
        if UNKNOWN in numbers:
            return "?"
        value = self.values[numbers[0]]
        return f"{self.prefixes[numbers[1]]} {value}".strip() if value and self.prefixes else value


class SlotDataModule(DataModule):
    """Recordings with an intent and slots, any of which may be empty; there are no transcripts.

    Batches are x float32 (N, 1, mels, frames), log-mel spectrograms of one length, and y int64 (N, choices): for each
    slot the number of its value, 0 where it is empty, and for slots with prefixes the number of the prefix.

    Args:
        path: a folder of your own instead of a source (`lantu.data.audio_folder`).
        audio: the column with the recordings.
        slots: the columns of the slots.
        intent: the column with the intent, which then is a slot too; None, or one intent alone: it is not predicted.
        prefixes: what stands before values and is learned as a choice of its own ("a lot of" milk), longest first.
        sample_rate, seconds, mels, window, hop: as of `AudioDataModule`.
        augment: options of `Augment`, for training.
        options: of `DataModule`.
    """

    unit = "recordings"
    takes_recordings = True

    def __init__(
        self,
        *,
        slots: list[str],
        source: Callable[[], Raw] | None = None,
        path: str | None = None,
        audio: str = "audio",
        intent: str | None = None,
        prefixes: list[str] | None = None,
        sample_rate: int | None = None,
        seconds: float | None = None,
        mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
        augment: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.source = source or own_folder(path)
        if not slots:
            raise UserError("`data.slots` must name the columns of the slots, such as `data.slots=[drink,size]`.")
        self.column, self.intent = audio, intent
        self.columns = list(slots)
        self.prefixes = sorted(prefixes or [], key=len, reverse=True)
        self.kind: Any = Audio(sample_rate=sample_rate, seconds=seconds, mels=mels, window=window, hop=hop)
        self.augment = Augment.of(augment)

    def read(self) -> None:
        raw = self.source()
        self._origin = raw
        named = [self.column, *self.columns, *([self.intent] if self.intent else [])]
        for column in named:
            if column not in raw.rows:
                near = did_you_mean(column, list(raw.rows))
                raise UserError(f"{raw.name} has no column `{column}`.{near} There are: {', '.join(raw.rows)}.")
        state = self.learned.get(self.kind.name)
        read = self.kind.read(raw.rows[self.column], state, cache=self.cache, report=self.report)
        split = completed(raw.split, self.shares, strata=np.zeros(len(raw.rows), dtype=int), seed=self.split_seed)
        kept = read.present & ~self._repeated(read, split)
        check_sizes(split[kept], self.shares, unit=self.unit)
        training = np.flatnonzero(kept & (split == "train"))
        trained = bool(self.learned)
        if not trained:
            slots = [self._slot(name, raw.rows[name].iloc[training]) for name in named[1:]]
            if self.intent and len(slots[-1].values) == 2:
                self.report.say(f"every recording has the intent {slots[-1].values[1]!r}, so it is not predicted")
                slots.pop()
            empty = [slot.name for slot in slots if len(slot.values) == 1]
            self.report.note(len(empty), "slots that no training recording fills left out", names=empty)
            self.learned = {
                self.kind.name: self.kind.learn(read, training),
                "slots": [asdict(slot) for slot in slots if len(slot.values) > 1],
            }
        codes = self._codes(raw.rows, split=split)
        self._values: dict[str, list[Any]] = {}
        for name in SPLITS:
            rows = np.flatnonzero(kept & (split == name))
            if len(rows):
                self._values[name] = [read.values[row] for row in rows]
                self.splits[name] = self._examples(self._values[name], codes[torch.from_numpy(rows)])
                content = read.hashes[rows].tobytes() + codes[torch.from_numpy(rows)].numpy().tobytes()
                self.fingerprints[name] = blake2b(content, digest_size=16).hexdigest()
        self._finish(raw, read.values, kept=int(kept.sum()), trained=trained)
        sizes = [slot.sizes for slot in self.slots]
        self.spec = {
            **self._facts(),
            "slots": self.learned["slots"],
            "slot_sizes": [sum(each) for each in sizes],
            "outputs": sum(map(sum, sizes)),
        }

    def _finish(self, raw: Raw, waves: list[np.ndarray], *, kept: int, trained: bool) -> None:
        """Attach the augmentation and say what was read."""
        mel = LogMel(rate=self.learned["audio"]["rate"], **self.kind.mel_options)
        self.augment.attach(self.splits["train"], mel, self.report, trained=trained)
        minutes = sum(len(wave) for wave in waves) / self.learned["audio"]["rate"] / 60
        if not any(str(name).lower() in ("speaker", "speaker_id", "client_id") for name in raw.rows):
            self.report.say("no speakers are named: one voice may be in training and in another part")
        self.report.title = f"{raw.name}: {kept:,} recordings, {minutes:.0f} minutes, {len(self.slots)} slots"

    @property
    def slots(self) -> list[Slot]:
        """What is predicted."""
        return [Slot(**each) for each in self.learned["slots"]]

    def noisy(self, split: str, decibels: float) -> Spectrograms:
        """A split with babble, four voices of training, so many decibels below each recording; always the same."""
        clean = self.splits[split]
        assert isinstance(clean, Spectrograms)
        return self._examples(with_babble(self._values[split], self._values["train"], decibels=decibels), clean.y)

    def first_inputs(self, split: str, count: int) -> list[Any]:
        """The first waveforms (samples,) of a split, as they were read."""
        return self._values[split][:count]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        waves, files = read_for_prediction(path, rate=self.learned["audio"]["rate"])
        return self.loader(self._examples(waves, None)), pd.DataFrame({"audio": files})

    def examples_of(self, inputs: Any) -> Spectrograms:
        """Waveforms (samples,) at the training's sample rate, or encoded files as bytes."""
        if isinstance(inputs, pd.DataFrame):
            if "audio" not in inputs:
                raise UserError(f"the request has no column `audio`: {', '.join(map(str, inputs))}.")
            inputs = inputs["audio"]
        return self._examples(waves_of(inputs, rate=self.learned["audio"]["rate"]), None)

    def schema(self) -> list[dict[str, str]]:
        return [{"name": "audio", "type": "binary"}]

    def origin(self) -> dict[str, Any]:
        source = str(self._origin.source.get("uri", ""))
        return {"name": self._origin.name, "source_type": self._origin.source_type, "source": source, "schema": None}

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the deviation of each mel band; the numbers of all choices (N, choices)."""
        examples = self.splits[split]
        assert isinstance(examples, Spectrograms)
        assert examples.y is not None
        x = torch.as_tensor(examples.x)[rows, 0]
        return torch.cat([x.mean(-1), x.std(-1)], dim=1).numpy(), examples.y[rows].numpy()

    def _slot(self, name: str, cells: pd.Series) -> Slot:
        texts = ["" if missing_cell(cell) else str(cell).strip() for cell in cells]
        parts = [divided(text, self.prefixes) for text in texts]
        prefixes = sorted({prefix for prefix, _ in parts} - {""})
        values = {value for _, value in parts} if prefixes else set(texts)
        return Slot(name, ["", *sorted(values - {""})], ["", *prefixes] if prefixes else [])

    def _codes(self, rows: pd.DataFrame, *, split: np.ndarray) -> Tensor:
        columns = []
        for slot in self.slots:
            texts = ["" if missing_cell(cell) else str(cell).strip() for cell in rows[slot.name]]
            found = np.array([slot.encode(text, self.prefixes) for text in texts])
            strange = sorted({text for text, row in zip(texts, found, strict=True) if UNKNOWN in row})
            what = f"values of {slot.name} that no training recording has, and that cannot be predicted"
            self.report.note(len(strange), what, names=strange)
            columns.append(found)
        return torch.from_numpy(np.concatenate(columns, axis=1))

    def _repeated(self, column: Column, split: np.ndarray) -> np.ndarray:
        """Training recordings that occur twice, or in another part."""
        order = np.argsort(split == "train", kind="stable")
        twice = np.zeros(len(split), dtype=bool)
        twice[order] = pd.Series(column.hashes[order]).duplicated().to_numpy()
        twice &= (split == "train") & column.present
        self.report.note(int(twice.sum()), "training recordings that occur twice left out")
        return twice

    def _examples(self, waves: list[np.ndarray], y: Tensor | None) -> Spectrograms:
        state = self.learned["audio"]
        column = Column(waves, np.ones(len(waves), dtype=bool), np.zeros(len(waves), dtype=np.uint64))
        standard = Standard.of(state["mean"], state["std"])
        return Spectrograms(self.kind.encode(column, state), y, standard=standard)

    def _facts(self) -> dict[str, Any]:
        """The inputs' part of the spec."""
        x = self.splits["train"].x  # type: ignore[attr-defined]
        return {
            "kind": "audio",
            "channels": 1,
            "height": x.shape[2],
            "mel_bands": x.shape[2],
            "width": x.shape[3],
            "features": int(np.prod(x.shape[1:])),
            "sample_rate": self.learned["audio"]["rate"],
        }


def with_babble(waves: list[np.ndarray], voices: list[np.ndarray], *, decibels: float) -> list[np.ndarray]:
    """Recordings with four voices drawn for each, so many decibels below it; always the same."""
    rng = np.random.default_rng(0)
    mixed = []
    for wave in waves:
        babble = np.zeros(len(wave), dtype=np.float32)
        for number in rng.integers(len(voices), size=VOICES):
            voice = np.resize(voices[number], len(wave))
            babble += voice / max(float(np.sqrt(np.mean(voice**2))), 1e-6)
        power = np.mean(wave**2) / max(float(np.mean(babble**2)), 1e-12)
        mixed.append((wave + babble * np.sqrt(power / 10 ** (decibels / 10))).astype(np.float32))
    return mixed


def divided(text: str, prefixes: Iterable[str]) -> tuple[str, str]:
    """A prefix and the rest: "a lot of milk" is ("a lot of", "milk")."""
    for prefix in prefixes:
        if text.startswith(f"{prefix} "):
            return prefix, text[len(prefix) + 1 :]
    return "", text
