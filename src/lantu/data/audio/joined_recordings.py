"""A source of sentences for speech recognition: recordings of single words, joined."""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.data.audio.audio_folder import audio_folder
from lantu.data.audio.espeak import Voice, speak_all
from lantu.data.sources import Raw
from lantu.errors import UserError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def joined_recordings(
    path: str,
    *,
    mirror: str | None = None,
    label: str = "label",
    by: str = "speaker",
    shortest: int = 2,
    longest: int = 6,
    repeats: int = 3,
    val: float = 0.1,
    words: list[str] | None = None,
    held_out: dict[str, list[str]] | None = None,
    elsewhere: str | None = None,
    voices: int = 0,
    spoken: str | None = None,
    seed: int = 0,
    make: bool = True,
) -> Raw:
    """Strings of single-word recordings of one speaker, such as "three one four" of spoken digits.

    Every recording occurs in `repeats` strings of its part, each of `shortest` to `longest` words.

    Args:
        path, mirror, held_out, elsewhere: as of `audio_folder`.
        label: the column with the word, or its number in `words`.
        by: the column whose values are not mixed.
        val: share of the training recordings that are set aside for validation, before any are joined, where the
            folder has no such part.
        words: the words by number; None: those of the ten digits.
        voices: of eSpeak NG, that speak every word for training, as further speakers.
        spoken: a folder in which their recordings are kept.
        seed: decides which recordings are joined.
        make: whether recordings of `voices` that are not there may be made; false for the config of a run.
    """
    raw = audio_folder(path, mirror=mirror, held_out=held_out, elsewhere=elsewhere)
    for column in (label, by):
        if column not in raw.rows:
            raise UserError(f"`data.source`: {raw.name} has no column `{column}`: {', '.join(raw.rows.columns)}.")
    if not 1 <= shortest <= longest or repeats < 1:
        raise UserError("`data.source.shortest`, `.longest` and `.repeats` must be at least 1, the second the largest.")
    if voices < 0:
        raise UserError(f"`data.source.voices={voices}` must be at least 0.")
    names = list(words or DIGITS)
    rng = np.random.default_rng(seed)
    split = raw.split.astype("<U5")
    if "val" not in split:
        training = np.flatnonzero(split == "train")
        split[rng.permutation(training)[: round(val * len(training))]] = "val"
    rows = raw.rows
    if voices:
        made = _spoken(names, voices, label=label, by=by, folder=spoken, make=make)
        rows, split = pd.concat([rows, made], ignore_index=True), np.concatenate([split, np.repeat("train", len(made))])
    found = []
    for (part, speaker), group in rows.groupby([split, rows[by].astype(str)]):
        order = np.concatenate([rng.permutation(len(group)) for _ in range(repeats)])
        place = 0
        while place < len(order):
            chosen = group.iloc[order[place : place + int(rng.integers(shortest, longest + 1))]]
            place += len(chosen)
            text = " ".join(names[int(value)] if str(value).isdigit() else str(value) for value in chosen[label])
            found.append({"audio": chosen["audio"].tolist(), "transcription": text, by: speaker, "part": part})
    strings = pd.DataFrame(found)
    parts = strings.pop("part").to_numpy()
    name = f"{raw.name} and eSpeak NG, joined" if voices else f"{raw.name}, joined"
    return Raw(name=name, rows=strings, split=parts, source=raw.source, key=f"{raw.key}-{seed}-{voices}")


TAKES = 2
"""Times that a voice of eSpeak NG speaks a word, in another pace each time."""


def _spoken(words: list[str], voices: int, *, label: str, by: str, folder: str | None, make: bool) -> pd.DataFrame:
    """Every word by every voice, as rows of recordings."""
    if folder is None:
        raise UserError(f"`data.source.voices={voices}` needs `data.source.spoken=DIR`, where recordings are kept.")
    rng = np.random.default_rng(0)
    drawn = [Voice.drawn(rng) for _ in range(voices)]
    asked = [(word, each, take) for each in range(voices) for take in range(TAKES) for word in range(len(words))]
    how = [Voice(drawn[each].name, drawn[each].pace + 30 * take, drawn[each].pitch) for _, each, take in asked]
    key = blake2b(repr((words, drawn, TAKES)).encode(), digest_size=8).hexdigest()
    files = speak_all([words[word] for word, _, _ in asked], how, Path(folder).expanduser() / key, make=make)
    names = [f"espeak-{each}" for _, each, _ in asked]
    return pd.DataFrame({"audio": files, label: [words[word] for word, _, _ in asked], by: names})
