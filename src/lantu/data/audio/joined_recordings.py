"""A source of sentences for speech recognition: recordings of single words, joined."""

import numpy as np
import pandas as pd

from lantu.data.audio.audio_folder import audio_folder
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
    seed: int = 0,
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
        seed: decides which recordings are joined.
    """
    raw = audio_folder(path, mirror=mirror, held_out=held_out, elsewhere=elsewhere)
    for column in (label, by):
        if column not in raw.rows:
            raise UserError(f"`data.source`: {raw.name} has no column `{column}`: {', '.join(raw.rows.columns)}.")
    if not 1 <= shortest <= longest or repeats < 1:
        raise UserError("`data.source.shortest`, `.longest` and `.repeats` must be at least 1, the second the largest.")
    names = list(words or DIGITS)
    rng = np.random.default_rng(seed)
    split = raw.split.astype("<U5")
    if "val" not in split:
        training = np.flatnonzero(split == "train")
        split[rng.permutation(training)[: round(val * len(training))]] = "val"
    found = []
    for (part, speaker), group in raw.rows.groupby([split, raw.rows[by].astype(str)]):
        order = np.concatenate([rng.permutation(len(group)) for _ in range(repeats)])
        place = 0
        while place < len(order):
            chosen = group.iloc[order[place : place + int(rng.integers(shortest, longest + 1))]]
            place += len(chosen)
            text = " ".join(names[int(value)] if str(value).isdigit() else str(value) for value in chosen[label])
            found.append({"audio": chosen["audio"].tolist(), "transcription": text, by: speaker, "part": part})
    rows = pd.DataFrame(found)
    parts = rows.pop("part").to_numpy()
    return Raw(name=f"{raw.name}, joined", rows=rows, split=parts, source=raw.source, key=f"{raw.key}-{seed}")
