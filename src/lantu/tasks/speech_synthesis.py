"""Generate speech sample by sample: likelihood of recordings, audio of every validation, mel-cepstral distortion."""

import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.models.wavenet_generation import generate
from lantu.tasks.baselines import Baseline
from lantu.tasks.outputs import Outputs, Sound
from lantu.tasks.spectral_distortion import mel_cepstral_distortion
from lantu.tasks.task import Task
from lantu.tasks.text_generation import evaluating
from lantu.tasks.waveform_baselines import bits_of_counts

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema
    from torch.utils.data import Dataset

LONGEST_SAMPLE = 4.0
"""Seconds of the longest test recording that is generated and compared."""


class SpeechSynthesis(Task):
    """Networks answer "nats" (N,), the negative log likelihood of N recordings' samples, and parts of another loss.

    The loss is the mean over samples in nats, plus `front_weight` times the parts of a text front end. Logged are
    `val/bits_per_sample`, and of the test `test/mcd_db`: the mel-cepstral distortion (dB) of generated recordings.

    Args:
        sample_rate: samples per second.
        bands: mel bands, of the spectrograms that are drawn.
        speakers: their names.
        front_weight: of the alignment's, log-mels' and durations' losses.
        sample_seconds: of a recording that is generated at each validation; 0: none.
        sample_temperature: that it is drawn with.
        test_samples: test recordings that are generated for the distortion.
        options: of `Task`.
    """

    net: Any
    keeps_outputs = False
    prompted = True
    speaks = True
    endings = (".wav", ".flac")

    def __init__(
        self,
        net: nn.Module,
        *,
        sample_rate: int,
        bands: int = 40,
        speakers: Sequence[str] = ("",),
        front_weight: float = 1.0,
        sample_seconds: float = 2.0,
        sample_temperature: float = 0.8,
        test_samples: int = 8,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if sample_seconds < 0 or test_samples < 0 or front_weight < 0 or sample_temperature < 0:
            raise UserError(
                "`task.sample_seconds`, `.sample_temperature`, `.test_samples` and `.front_weight` are 0 or more."
            )
        self.sample_rate, self.bands, self.speakers = sample_rate, bands, list(speakers)
        self.front_weight, self.test_samples = front_weight, test_samples
        self.sample_seconds, self.sample_temperature = sample_seconds, sample_temperature
        self.use_metrics(lambda: MetricCollection({"bits_per_sample": MeanMetric()}))

    def loss(self, output: dict[str, Tensor], y: dict[str, Any], *, stage: str) -> dict[str, Tensor]:
        parts = {name: self.front_weight * value.mean() for name, value in output.items() if name != "nats"}
        return {"nats_per_sample": output["nats"].sum() / y["samples"].sum(), **parts}

    def weight(self, y: dict[str, Any]) -> int:
        return int(y["samples"].sum())

    def observe(self, metrics: MetricCollection, output: dict[str, Tensor], y: dict[str, Any]) -> None:
        metrics.update(output["nats"] / y["samples"] / math.log(2), y["samples"])

    # Speaking

    def synthesize(
        self,
        data: DataModule,
        texts: Sequence[str],
        *,
        speaker: str | None = None,
        temperature: float = 0.8,
        seed: int = 0,
        seconds: float = 2.0,
    ) -> list[np.ndarray]:
        """Speak texts: a waveform (samples,) in [-1, 1] of each.

        Args:
            data: knows the characters.
            speaker: by name; None: the first.
            temperature: below 1 is careful, 0 takes the likeliest value of every sample.
            seed: of the random numbers that samples are drawn with.
            seconds: of a recording of a network without text.

        Raises:
            UserError: the network is conditioned on log-mels, or does not know the speaker or the characters.
        """
        if self.net.condition == "mels":
            raise UserError(
                "this model speaks from the log-mels of a recording, not from text: add `input=FILE.wav`, or train one "
                "with `model.condition=characters`."
            )
        number = self._speaker(speaker)
        found = []
        for place, text in enumerate(texts):
            batch: dict[str, Tensor] = {}
            if self.net.condition == "characters":
                batch = {name: value.to(self.device) for name, value in data.tokens_of([text]).items()}
            found.append(self._generated(batch, number, temperature, seed + place, seconds=seconds))
        return found

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Outputs:
        """Speak recordings again, from their log-mels."""
        if self.net.condition != "mels":
            raise UserError("this model speaks text, not recordings: add `prompt=TEXT` instead of `input=`.")
        waves = []
        for row, length in enumerate(batch["lengths"].tolist()):
            own = {"mels": batch["mels"][row : row + 1, :, :length]}
            waves.append(self._generated(own, int(batch["speaker"][row]), self.sample_temperature, row))
        return {"wave": waves}

    def to_frame(self, outputs: Outputs, examples: "Dataset") -> "pd.DataFrame":
        """`seconds` of each recording."""
        import pandas as pd

        return pd.DataFrame({"seconds": [len(wave) / self.sample_rate for wave in outputs["wave"]]})

    def write(self, outputs: Outputs, path: Path, *, frame: "pd.DataFrame") -> None:
        """Write one recording to `path`, of several the second to STEM_2 and so on."""
        import soundfile

        for number, wave in enumerate(outputs["wave"], start=1):
            file = path if number == 1 else path.with_stem(f"{path.stem}_{number}")
            soundfile.write(file, wave, self.sample_rate)

    def respond(self, data: DataModule, inputs: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """Each text of the column `text` as a WAV file in the column `audio`."""
        import pandas as pd

        waves = self.synthesize(data, [str(each) for each in inputs["text"]], **(params or {}))
        return pd.DataFrame({"audio": [as_wav(each, self.sample_rate) for each in waves]})

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("binary", "audio")])

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        if self.net.condition == "mels":
            return [("lantu predict run=last input=FILE.wav output=out.wav", "speak a recording again")]
        return [('lantu predict run=last prompt="..." output=out.wav', "let it speak")]

    # What is shown

    def samples(self, data: DataModule, *, stage: str = "val") -> dict[str, Any]:
        """A generated recording and its spectrogram beside the real one's; of the test also the distortion."""
        split = data.splits.get(stage)
        if split is None or not self.sample_seconds:
            return {}
        with evaluating(self.net):
            return self._shown(data, split, stage)

    def _shown(self, data: DataModule, split: Any, stage: str) -> dict[str, Any]:
        hop = self.net.hop
        most = int((self.sample_seconds if stage == "val" else LONGEST_SAMPLE) * self.sample_rate / hop)
        short = [each for each in split.recordings if each.mels.shape[1] <= most] or split.recordings[:1]
        wanted = 1 if stage == "val" else max(1, self.test_samples)
        places = np.linspace(0, len(short) - 1, wanted + 2)[1:-1] if len(short) > wanted else range(len(short))
        chosen = [short[round(place)] for place in places]
        pairs = [(decoded(each.codes), self._repeated(each, number)) for number, each in enumerate(chosen)]
        found = {
            "speech": Sound(pairs[0][1], self.sample_rate),
            "spectrogram": self._spectrograms(chosen[0].text.strip(), pairs[0]),
        }
        if stage == "val":
            return found
        found["speech_real"] = Sound(pairs[0][0], self.sample_rate)
        if self.net.condition != "none" and self.test_samples:
            apart = [mel_cepstral_distortion(real, made, rate=self.sample_rate, hop=hop) for real, made in pairs]
            found["test/mcd_db"] = float(np.mean(apart))
        return found

    def _repeated(self, recording: Any, seed: int) -> np.ndarray:
        """What the network makes of a recording's text or log-mels."""
        batch = {
            "tokens": recording.tokens[None].to(self.device), "mels": recording.mels[None].to(self.device),
            "token_lengths": torch.tensor([len(recording.tokens)], device=self.device),
        }  # fmt: skip
        return self._generated(batch, recording.speaker, self.sample_temperature, seed, seconds=self.sample_seconds)

    @torch.inference_mode()
    def _generated(
        self, batch: dict[str, Tensor], speaker: int, temperature: float, seed: int, *, seconds: float = 2.0
    ) -> np.ndarray:
        frames = self.net.frames_of(batch)
        cond = self.net.conditioning(frames, torch.tensor([speaker], device=self.device))
        samples = int(seconds * self.sample_rate) if frames is None else frames.shape[2] * self.net.hop
        uniform = torch.rand(1, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return decoded(generate(self.net, cond, uniform, temperature=temperature)[0])

    def _speaker(self, name: str | None) -> int:
        if name is None:
            return 0
        if name not in self.speakers:
            known = ", ".join(filter(None, self.speakers)) or "one voice without a name"
            raise UserError(f"`speaker={name}`: the model was trained on {known}.")
        return self.speakers.index(name)

    def _spectrograms(self, text: str, waves: tuple[np.ndarray, np.ndarray]) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots(2, 1, sharex=True)
        for axis, wave, title in zip(axes, waves, ("recording", "generated"), strict=True):
            axis.specgram(wave + 1e-6, NFFT=256, Fs=self.sample_rate, noverlap=192, vmin=-110, vmax=-30)
            axis.set(title=f"{title}: {text[:90]}" if title == "recording" else title, ylabel="Hz")
        axes[-1].set(xlabel="seconds")
        return figure

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        """Every sample alike (unigram), and from the one before it (bigram)."""
        found = []
        for name, description, order in (("trivial", "unigram", 1), ("classical", "bigram", 2)):
            started = time.perf_counter()
            bits = bits_of_counts({split: _codes(examples) for split, examples in data.splits.items()}, order=order)
            metrics = {f"{split}/bits_per_sample": value for split, value in bits.items()}
            found.append(Baseline(name, f"{description} of mu-law codes", metrics, time.perf_counter() - started))
        return found


def _codes(examples: Any) -> list[np.ndarray]:
    return [each.codes.numpy() for each in examples.recordings]


def as_wav(wave: np.ndarray, rate: int) -> bytes:
    """A waveform (samples,) in [-1, 1] as a WAV file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV")
    return file.getvalue()


def decoded(codes: Tensor) -> np.ndarray:
    """The waveform (samples,) in [-1, 1] of mu-law codes."""
    from torchaudio.functional import mu_law_decoding

    return mu_law_decoding(codes.long().cpu(), 256).float().numpy()
