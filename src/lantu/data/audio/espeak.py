"""Speech by the program eSpeak NG, in many voices, as additional training data."""

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from lantu.errors import UserError
from lantu.whole_files import write_whole

ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
"""Of eSpeak NG's English."""
TIMBRES = (*(f"m{number}" for number in range(1, 9)), *(f"f{number}" for number in range(1, 6)), "klatt2", "klatt4")
"""Variants of a voice, such as en-us+f3."""
RATE = 8000
"""Samples per second that are kept."""
QUIET = 0.02
"""Share of a recording's peak below which its beginning and end are cut off."""


@dataclass(frozen=True)
class Voice:
    """How a text is spoken."""

    name: str
    """Such as en-us+f3."""
    pace: int
    """Words per minute."""
    pitch: int
    """0 to 99."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Voice":
        """An English voice, its pace and its pitch."""
        name = f"{ACCENTS[int(rng.integers(len(ACCENTS)))]}+{TIMBRES[int(rng.integers(len(TIMBRES)))]}"
        return cls(name, int(rng.integers(110, 200)), int(rng.integers(15, 85)))


def speak_all(texts: Sequence[str], voices: Sequence[Voice], folder: Path, *, make: bool) -> list[str]:
    """Speak each text with its voice to a file of `folder`, once; returns the files in order.

    Args:
        make: whether recordings that are not there may be made.

    Raises:
        UserError: the recordings are not there, and eSpeak NG is not installed or may not be started.
    """
    files = [folder / f"{number}.ogg" for number in range(len(texts))]
    if not (folder / "whole").is_file():
        if not make:
            raise UserError(
                f"the spoken recordings of the run's data are not in {folder.parent}. The config of a run starts no "
                "program, so they are not made again here: train with the same `data.source` options, which makes them."
            )
        if shutil.which("espeak-ng") is None:
            raise UserError(
                "spoken texts need the program espeak-ng, which is not installed: `apt-get install espeak-ng`, or "
                "`data.source.spoken=DIR` with the recordings that another machine has made."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(_speak, texts, voices, files))
        write_whole(folder / "whole", f"{len(texts)} recordings\n")
    return [str(file) for file in files]


def _speak(text: str, voice: Voice, file: Path) -> None:
    """Speak one text, at `RATE`, without silence before and after it."""
    import soundfile
    import soxr

    asked = ["espeak-ng", "-v", voice.name, "-s", str(voice.pace), "-p", str(voice.pitch), "--stdout"]
    done = subprocess.run(asked, input=text.encode(), capture_output=True, check=False)
    try:
        wave, rate = soundfile.read(BytesIO(done.stdout), dtype="float32")
    except soundfile.SoundFileError as error:
        said = done.stderr.decode(errors="replace").strip() or "it wrote no sound"
        raise UserError(f"espeak-ng cannot speak with the voice {voice.name}: {said}.") from error
    loud = np.flatnonzero(np.abs(wave) > QUIET * np.abs(wave).max(initial=1e-6))
    kept = wave[loud[0] : loud[-1] + 1] if len(loud) else wave
    soundfile.write(file, soxr.resample(kept, rate, RATE), RATE, format="OGG", subtype="VORBIS")
