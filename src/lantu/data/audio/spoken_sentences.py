"""A source of spoken commands that eSpeak NG speaks: sentences by a pattern, with the slots of real recordings."""

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.audio.audio_folder import audio_folder
from lantu.data.sources import Raw
from lantu.errors import UserError
from lantu.whole_files import write_whole

ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
"""Of eSpeak NG's English."""
TIMBRES = (*(f"m{number}" for number in range(1, 9)), *(f"f{number}" for number in range(1, 6)), "klatt2", "klatt4")
"""Variants of a voice, such as en-us+f3."""
RATE = 8000
"""Samples per second that are kept."""


def spoken_sentences(
    path: str,
    *,
    sentences: list[str],
    slots: list[str],
    spoken: str,
    count: int = 1500,
    real: str = "all",
    mirror: str | None = None,
    held_out: dict[str, list[str]] | None = None,
    elsewhere: str | None = None,
    seed: int = 0,
) -> Raw:
    """Commands spoken by eSpeak NG, beside real recordings whose slots they take.

    Each slot is drawn by itself from the training recordings' values, and the sentence from the patterns. Voice, pace
    and pitch are drawn as well. The recordings are made once and kept. Rows have the column `transcription`, which is
    empty for real recordings, and `voice`.

    Args:
        path, mirror, held_out, elsewhere: the real recordings, as of `audio_folder`.
        sentences: patterns such as "(can I have|I want) a [{size}] coffee [with {milk}]": one of the alternatives in
            round brackets, and what is in square brackets only where its slot is filled. A slot that is filled must
            occur in every pattern.
        slots: the columns.
        spoken: a folder in which the recordings are kept.
        count: commands.
        real: all: the commands are added to the real training recordings. held_out: they replace them. none: there are
            no real recordings, and one command in ten is for validation and one in ten for the test.
        seed: decides everything that is drawn.

    Raises:
        UserError: eSpeak NG is not installed and the recordings are not there; a pattern lacks a slot; an option is out
            of its range.
    """
    if real not in ("all", "held_out", "none"):
        raise UserError(f"`data.source.real={real}`: real recordings are used in all parts (all), held_out or none.")
    if count < 10:
        raise UserError(f"`data.source.count={count}` must be at least 10.")
    raw = audio_folder(path, mirror=mirror, held_out=held_out, elsewhere=elsewhere)
    unknown = [name for name in slots if name not in raw.rows]
    if unknown:
        raise UserError(f"`data.slots`: {raw.name} has no column `{unknown[0]}`. There are: {', '.join(raw.rows)}.")
    orders = composed(raw.rows[raw.split == "train"], sentences=sentences, slots=slots, count=count, seed=seed)
    asked = blake2b(json.dumps([orders, ACCENTS, TIMBRES, RATE]).encode(), digest_size=8).hexdigest()
    folder = Path(spoken).expanduser() / asked
    made = pd.DataFrame(orders).assign(audio=[str(folder / f"{number}.ogg") for number in range(count)])
    if not (folder / "whole").is_file():
        _speak_all(made, folder)
    part = np.where(np.arange(count) % 10 == 0, "test", np.where(np.arange(count) % 10 == 1, "val", "train"))
    key = f"{raw.key}-{asked}-{real}"
    if real == "none":
        return Raw(name=f"{raw.name}, spoken by eSpeak NG", rows=made, split=part, source=raw.source, key=key)
    kept = np.ones(len(raw.rows), dtype=bool) if real == "all" else raw.split != "train"
    own = raw.rows[kept].assign(transcription="", voice="")
    rows = pd.concat([own, made], ignore_index=True)
    for name in set(raw.rows) - set(made) - {"audio"}:  # an intent that all recordings share
        values = raw.rows[name].dropna().unique()
        if len(values) == 1:
            rows[name] = values[0]
    split = np.concatenate([raw.split[kept], np.repeat("train", count)])
    return Raw(name=f"{raw.name} and eSpeak NG", rows=rows, split=split, source=raw.source, key=key)


def composed(
    rows: pd.DataFrame, *, sentences: list[str], slots: list[str], count: int, seed: int
) -> list[dict[str, Any]]:
    """Commands: `transcription`, each slot (None where it is not filled), and how they are spoken."""
    rng = np.random.default_rng(seed)
    for pattern in sentences:
        missing = [name for name in slots if f"{{{name}}}" not in pattern]
        if missing:
            raise UserError(f"`data.source.sentences`: {pattern!r} lacks the slot {{{missing[0]}}}.")
    made = []
    for _ in range(count):
        drawn = {name: rows[name].iloc[int(rng.integers(len(rows)))] for name in slots}
        filled = {name: None if pd.isna(value) or not str(value).strip() else str(value).strip()
                  for name, value in drawn.items()}  # fmt: skip
        text = phrased(sentences[int(rng.integers(len(sentences)))], filled, rng)
        voice = f"{ACCENTS[int(rng.integers(len(ACCENTS)))]}+{TIMBRES[int(rng.integers(len(TIMBRES)))]}"
        spoken = {"voice": voice, "pace": int(rng.integers(110, 200)), "pitch": int(rng.integers(15, 85))}
        made.append({"transcription": text, **filled, **spoken})
    return made


def phrased(pattern: str, filled: dict[str, str | None], rng: np.random.Generator) -> str:
    """A sentence by a pattern: alternatives are chosen, and parts whose slot is not filled are left out."""

    def optional(part: re.Match[str]) -> str:
        named = re.findall(r"\{(\w+)\}", part[1])
        return part[1] if all(filled.get(name) for name in named) else ""

    text = re.sub(r"\[([^\[\]]*)\]", optional, pattern)
    text = re.sub(r"\(([^()]*)\)", lambda part: part[1].split("|")[int(rng.integers(part[1].count("|") + 1))], text)
    text = re.sub(r"\{(\w+)\}", lambda part: filled.get(part[1]) or "", text)
    return " ".join(text.replace(" ,", ",").split()).strip(" ,")


def _speak_all(orders: pd.DataFrame, folder: Path) -> None:
    """Write every command as OGG, and a file `whole` when all are there."""
    if shutil.which("espeak-ng") is None:
        raise UserError(
            "spoken commands need the program espeak-ng, which is not installed: `apt-get install espeak-ng`, or "
            "`data.source.spoken=DIR` with the recordings that another machine has made."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_speak, orders.to_dict("records")))
    write_whole(folder / "whole", f"{len(orders)} recordings\n")


def _speak(order: dict[str, Any]) -> None:
    """Speak one command, at `RATE`, and write it to its file."""
    import soundfile
    import soxr

    asked = ["espeak-ng", "-v", order["voice"], "-s", str(order["pace"]), "-p", str(order["pitch"]), "--stdout"]
    done = subprocess.run(asked, input=order["transcription"].encode(), capture_output=True, check=False)
    try:
        wave, rate = soundfile.read(BytesIO(done.stdout), dtype="float32")
    except soundfile.SoundFileError as error:
        said = done.stderr.decode(errors="replace").strip() or "it wrote no sound"
        raise UserError(f"espeak-ng cannot speak with the voice {order['voice']}: {said}.") from error
    soundfile.write(order["audio"], soxr.resample(wave, rate, RATE), RATE, format="OGG", subtype="VORBIS")
