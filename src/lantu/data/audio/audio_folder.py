"""Recordings in a folder, as people and the hub keep them: class folders, or a table beside the files."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lantu.data.audio.recordings import ENDINGS, audio_files
from lantu.data.labels import alike
from lantu.data.read_table import read_table
from lantu.data.sources import PARTS, Raw
from lantu.errors import UserError

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of a table that describes the recordings of its folder (the hub's audiofolder layout)."""


def own_folder(path: str | None) -> Callable[[], Raw]:
    """The source of a data module for which only `data.path` is given.

    Raises:
        UserError: `data.path` is missing.
    """
    if path is None:
        raise UserError("`data.path` must name a folder of recordings: add `data.path=DIR` to the command.")
    return partial(audio_folder, path)


def audio_folder(
    path: str, *, mirror: str | None = None, held_out: dict[str, list[str]] | None = None, elsewhere: str | None = None
) -> Raw:
    """Recordings of a folder with their labels.

    The folder, or its parts train, validation and test, hold either one folder per class, or recordings beside a table
    `metadata.csv`, `.jsonl` or `.parquet` whose column `file_name` names them; its other columns are kept.

    Args:
        path: the folder; looked for in `mirror` first.
        mirror: a folder that stands in for the hub.
        held_out: column to values, such as {speaker: [jackson]}: recordings with one of these values are the test
            split, all others are divided anew into training and validation.
        elsewhere: how a copy is made of data that are on no hub, as a sentence.

    Raises:
        UserError: no such folder, no recordings, a table that names missing files, or an unknown column or value.
    """
    folder = Path(path).expanduser()
    if mirror and (Path(mirror).expanduser() / path).is_dir():
        folder = Path(mirror).expanduser() / path
    if not folder.is_dir():
        hint = f" {elsewhere} Then type `paths.mirror=DIR`, the folder that holds `{path}`." if elsewhere else ""
        raise UserError(f"`data.path={path}`: there is no such folder.{hint}")
    parts = {name: part for name, part in PARTS.items() if (folder / name).is_dir()}
    pieces = [_part(folder / name, part) for name, part in parts.items()] if parts else [_part(folder, "train")]
    rows = pd.concat([piece for piece, _ in pieces], ignore_index=True)
    split = np.concatenate([part for _, part in pieces])
    if held_out:
        split = _hold_out(rows, held_out)
    stat = [Path(file).stat() for file in rows["audio"]]
    key = f"{folder.resolve()}-{sum(each.st_size for each in stat)}-{sum(each.st_mtime_ns for each in stat)}"
    names = alike(rows["label"].dropna().astype(str)) if "label" in rows else []
    notes = [f"{len(names)} classes differ in case or spaces alone: {', '.join(map(repr, names))}"] if names else []
    return Raw(name=folder.name, rows=rows, split=split, source={"uri": str(folder.resolve())}, key=key, notes=notes)


def _part(folder: Path, part: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The recordings of one part, with their labels or table columns."""
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    rows = _from_table(table) if table else _from_class_folders(folder)
    return rows, np.repeat(part, len(rows))


def _from_table(table: Path) -> pd.DataFrame:
    rows, _ = read_table(table)
    if "file_name" not in rows:
        raise UserError(f"{table}: the column `file_name` is missing. There are: {', '.join(rows.columns)}.")
    files = [table.parent / str(name) for name in rows["file_name"]]
    missing = [str(file.name)[:80] for file in files if not os.path.isfile(file)]  # also of names that none can have
    if missing:
        raise UserError(
            f"{table} names {len(missing):,} of {len(files):,} recordings that do not exist, such as {missing[0]}."
        )
    return rows.drop(columns="file_name").assign(audio=[str(file) for file in files])


def _from_class_folders(folder: Path) -> pd.DataFrame:
    files = audio_files(folder)
    if not files or any(file.parent == folder for file in files):
        raise UserError(
            f"`data.path={folder}`: the recordings ({', '.join(ENDINGS)}) must lie in one folder per class, such as "
            "yes/1.wav and no/2.wav, or beside a table metadata.csv with the columns file_name and label; with or "
            "without folders train, validation and test above that."
        )
    labels = [file.relative_to(folder).parts[0] for file in files]
    return pd.DataFrame({"audio": [str(file) for file in files], "label": labels})


def _hold_out(rows: pd.DataFrame, held_out: dict[str, list[str]]) -> np.ndarray:
    """The split in which the recordings with the given values are the test part."""
    chosen = np.zeros(len(rows), dtype=bool)
    for column, values in held_out.items():
        if column not in rows:
            raise UserError(
                f"`data.source.held_out`: there is no column `{column}`. There are: {', '.join(rows.columns)}."
            )
        known = rows[column].astype(str)
        for value in map(str, [values] if isinstance(values, str) else values):
            if not (known == value).any():
                there = ", ".join(sorted(known.unique())[:20])
                raise UserError(f"`data.source.held_out.{column}`: `{value}` does not occur. There are: {there}.")
            chosen |= (known == value).to_numpy()
    return np.where(chosen, "test", "train")
