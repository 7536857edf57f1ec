"""Predict for one part of a table, in a worker that has loaded the model."""

from pathlib import Path
from typing import Any

import pandas as pd

from lantu.config.build import build
from lantu.data.table_chunks import text_types, write_state
from lantu.inference.apply import predict
from lantu.inference.rebuild import Rebuilt, rebuild

_worker: dict[str, Any] = {}


def load(checkpoint: Path, trainer: Any) -> None:
    """Rebuild the model that this process predicts with."""
    _worker["rebuilt"], _worker["trainer"] = rebuild(checkpoint), trainer


def predict_part(chunk: Path, folder: Path, number: int) -> None:
    """Predict for one chunk, and write its part and what its columns of texts are."""
    rebuilt: Rebuilt = _worker["rebuilt"]
    found = predict(rebuilt, build(_worker["trainer"]), chunk)
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
    write_state(folder / f"{number:06d}.json", {"rows": len(found), "types": types})
    chunk.unlink()
