"""A source of spoken commands that eSpeak NG speaks: sentences by a pattern, with the slots of real recordings."""

import json
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.audio.audio_folder import audio_folder
from lantu.data.audio.espeak import ACCENTS, RATE, TIMBRES, Voice, speak_all
from lantu.data.sources import Raw
from lantu.errors import UserError


def spoken_sentences(
    path: str,
    *,
    sentences: list[str],
    slots: list[str],
    spoken: str | None,
    count: int = 1500,
    real: str = "all",
    mirror: str | None = None,
    held_out: dict[str, list[str]] | None = None,
    elsewhere: str | None = None,
    seed: int = 0,
    make: bool = True,
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
        spoken: a folder in which the recordings are kept. None, with `real=none`: the text alone, nothing is spoken.
        count: commands.
        real: all: the commands are added to the real training recordings. held_out: they replace them. none: there are
            no real recordings, and one command in ten is for validation and one in ten for the test.
        seed: decides everything that is drawn.
        make: whether recordings that are not there may be made; false for the config of a run.

    Raises:
        UserError: eSpeak NG is not installed and the recordings are not there; a pattern lacks a slot; an option is out
            of its range.
    """
    if real not in ("all", "held_out", "none"):
        raise UserError(f"`data.source.real={real}`: real recordings are used in all parts (all), held_out or none.")
    if spoken is None and real != "none":
        raise UserError(f"`data.source.spoken=null`: recordings beside real ones (`data.source.real={real}`) are kept.")
    if count < 10:
        raise UserError(f"`data.source.count={count}` must be at least 10.")
    raw = audio_folder(path, mirror=mirror, held_out=held_out, elsewhere=elsewhere)
    unknown = [name for name in slots if name not in raw.rows]
    if unknown:
        raise UserError(f"`data.slots`: {raw.name} has no column `{unknown[0]}`. There are: {', '.join(raw.rows)}.")
    orders = composed(raw.rows[raw.split == "train"], sentences=sentences, slots=slots, count=count, seed=seed)
    asked = blake2b(json.dumps([orders, ACCENTS, TIMBRES, RATE]).encode(), digest_size=8).hexdigest()
    made = pd.DataFrame(orders)
    if spoken is not None:
        voices = [Voice(each["voice"], each["pace"], each["pitch"]) for each in orders]
        files = speak_all(made["transcription"].tolist(), voices, Path(spoken).expanduser() / asked, make=make)
        made = made.assign(audio=files)
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
        voice = Voice.drawn(rng)
        made.append({"transcription": text, **filled, "voice": voice.name, "pace": voice.pace, "pitch": voice.pitch})
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
