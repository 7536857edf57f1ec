"""Pictures in WebDataset shards: tar files whose members of one name are one example."""

import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.data.files import IMAGE_ENDINGS, visible_files
from lantu.data.sources import PARTS, Raw
from lantu.errors import UserError
from lantu.foreign_json import parse_json

_FOLDER = "folder of the key"
_TEXTS = ("cls", "txt", "json")
"""Endings of members that are read as values: a class, a text, columns."""


def webdataset(path: str) -> Raw:
    """The examples of tar shards in a folder, or of one shard, each with where its picture lies in its shard.

    Members are named KEY.ENDING. A picture is a row; `KEY.cls` and `KEY.txt` become columns `cls` and `txt`, and
    `KEY.json` a column for each of its keys. Without any of these the folder in the key is the column `label`. Folders
    train, val and test above the shards, or shards whose names begin so, are the parts. Of the shards the headers and
    texts are read, and no picture is taken out of them.

    Raises:
        UserError: no shards, no pictures in them, or a shard that cannot be read or ends too early.
    """
    place = Path(path).expanduser()
    shards = [place] if place.is_file() else [each for each in visible_files(place) if each.suffix == ".tar"]
    if not shards:
        raise UserError(f"`data.path={path}`: there are no .tar files.")
    rows: list[dict[str, Any]] = []
    split: list[str] = []
    notes: Counter[str] = Counter()
    for shard in shards:
        found = _members(shard, notes)
        rows += found
        split += [part_of(shard.relative_to(place.parent if place.is_file() else place))] * len(found)
    if not rows:
        raise UserError(f"`data.path={path}`: the shards hold no pictures. A picture is a member KEY.jpg, KEY.png, ...")
    frame = pd.DataFrame(rows)
    if set(frame) == {"image", _FOLDER}:  # the folder is the class only where nothing else is told
        frame = frame.rename(columns={_FOLDER: "label"})
    frame = frame.drop(columns=_FOLDER, errors="ignore")
    return Raw(
        name=place.resolve().name,
        rows=frame,
        split=np.array(split),
        source={"uri": str(place.resolve())},
        passed_over=tuple((count, what) for what, count in notes.items()),
    )


def _members(shard: Path, notes: Counter[str]) -> list[dict[str, Any]]:
    """A row for each picture of a shard."""
    examples: dict[str, dict[str, Any]] = {}
    seen: set[tuple[str, str]] = set()
    try:
        if not shard.is_file():  # who opens a pipe waits for ever
            raise OSError("it is no file")
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key, ending = f"{folder}/{stem}".lstrip("./"), ending.lower()
                is_picture = f".{ending}" in IMAGE_ENDINGS
                if not is_picture and ending not in _TEXTS:
                    notes[f"members ending in .{ending} are passed over"] += 1
                    continue
                kind = "image" if is_picture else ending
                if (key, kind) in seen:
                    notes["members repeat another's key and kind: the last one counts"] += 1
                seen.add((key, kind))
                example = examples.setdefault(key, {})
                if is_picture:
                    where = {"path": str(shard), "offset": member.offset_data, "length": member.size}
                    example |= {"image": {**where, "name": member.name}, _FOLDER: folder.rpartition("/")[2]}
                else:
                    file = archive.extractfile(member)
                    assert file is not None
                    text = file.read().decode("utf-8", errors="replace").strip()
                    columns = _columns(ending, text, f"{shard}, {member.name}")
                    example |= {name: value for name, value in columns.items() if name not in ("image", _FOLDER)}
            if not _has_end_mark(shard, archive.offset):
                notes["shards have no end mark, so that they may be cut short"] += 1
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{shard} cannot be read: {error}. Shards are tar files that are not compressed.") from error
    return [example for example in examples.values() if "image" in example]


def _has_end_mark(shard: Path, end: int) -> bool:
    """Whether a shard ends as tar files do, with zeros.

    Args:
        end: where the reader stopped.

    Raises:
        UserError: there is more behind it: `tarfile` takes a damaged or cut header for the end.
    """
    with shard.open("rb") as file:
        file.seek(end)
        while block := file.read(2**20):
            if block.strip(b"\0"):
                raise UserError(
                    f"{shard} is damaged or cut short at byte {end:,}, and what follows cannot be read. Copy or "
                    "download it again."
                )
        return file.tell() >= end + tarfile.BLOCKSIZE


def _columns(ending: str, text: str, where: str) -> dict[str, Any]:
    if ending != "json":
        return {ending: text}
    try:
        found = parse_json(text)
    except ValueError as error:
        raise UserError(f"{where} is no JSON: {error}.") from error
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {"json": text}


def part_of(shard: Path) -> str:
    """train, val or test, by the folders above a shard or the beginning of its name."""
    for name in (*(part.lower() for part in shard.parts[:-1]), shard.name.lower().split("-")[0].split("_")[0]):
        if name.partition(".")[0] in PARTS:
            return PARTS[name.partition(".")[0]]
    return "train"
