"""Predict for one part of a table, in a worker that has loaded the model."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from lantu.config.build import build
from lantu.data.table_chunks import text_types, write_state
from lantu.errors import UserError
from lantu.inference.apply import predict
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.log_noise import without_noise
from lantu.notices import collected

_worker: dict[str, Any] = {}
_COUNTED = re.compile(r"(`.*?`: )([\d,]+) of [\d,]+ values (.*)", re.DOTALL)
_EXAMPLE = re.compile(r"\(.*\)|such as [^,]+", re.DOTALL)
"""What differs in such a sentence from part to part."""


def load(checkpoint: Path, trainer: Any) -> None:
    """Rebuild the model that this process predicts with."""
    without_noise()
    _worker["rebuilt"], _worker["trainer"] = rebuild(checkpoint), trainer


def predict_part(chunk: Path, folder: Path, number: int) -> None:
    """Predict for one chunk, and write its part and what its columns of texts are."""
    rebuilt: Rebuilt = _worker["rebuilt"]
    try:
        with collected() as notes:
            found = predict(rebuilt, build(_worker["trainer"]), chunk)
    except UserError as error:
        raise UserError(str(error).replace(str(chunk), f"part {number + 1:,} of the table")) from error
    types: dict[str, str] = {}
    if chunk.suffix == ".parquet":
        given = pd.read_parquet(chunk)
        texts = [name for name in given if given[name].dtype.kind in "OUT" and name in found]
        types = text_types(given[texts])
        if len(given) == len(found):
            found[texts] = given[texts]  # one part may look like numbers where another does not
    part = folder / f"{number:06d}.part"
    try:
        found.to_parquet(part, index=False)
        part.replace(folder / f"{number:06d}.parquet")
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    write_state(folder / f"{number:06d}.json", {"rows": len(found), "types": types, "notes": notes})
    chunk.unlink()


def summed(notes: Iterable[str], *, rows: int) -> list[str]:
    """Sentences about parts as sentences about the whole table: of those that count values, one with the sum.

    Args:
        rows: of the whole table.
    """
    counts: dict[tuple[str, str], int] = {}
    first: dict[tuple[str, str], str] = {}
    others: dict[str, None] = {}
    for note in notes:
        if (counted := _COUNTED.fullmatch(note)) is None:
            others[note] = None
            continue
        column, count, what = counted.groups()
        key = column, _EXAMPLE.sub("", what)
        counts[key] = counts.get(key, 0) + int(count.replace(",", ""))
        first.setdefault(key, what)
    return [*others, *(f"{key[0]}{count:,} of {rows:,} values {first[key]}" for key, count in counts.items())]
