"""Requests for a load test: real inputs from a file, or rows like those of the training data."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lantu.errors import UserError
from lantu.inference.rebuild import Rebuilt
from lantu.serving.load.client import Body

MOST = 500
"""Different requests; further ones repeat them."""


def bodies_of(rebuilt: Rebuilt, path: Path | None, *, rows: int = 1, seed: int = 0) -> tuple[list[Body], str]:
    """Requests, and a sentence that says what they are.

    Args:
        path: a table, a folder of pictures or recordings, or a text file of prompts; None: rows drawn by what was
            learned of the training table.
        rows: of one request.

    Raises:
        UserError: the data are no table and no path is given.
    """
    if rebuilt.task.prompted:
        prompts = _lines(path) if path else ["The "]
        records = [{"prompt": each} for each in prompts]
        return _json(records, rows), f"{len(records)} prompts"
    if path is not None and (path.is_dir() or path.suffix.lower() in (".png", ".jpg", ".jpeg", ".wav", ".flac")):
        files = sorted(each for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())[:MOST]
        return [Body(each.read_bytes(), "application/octet-stream") for each in files], f"{len(files)} files"
    if path is not None:
        from lantu.data.csv_rows import with_numbers
        from lantu.data.read_table import read_table_with_notes

        table, _, _ = read_table_with_notes(path, as_text=True)
        records = json.loads(with_numbers(table.head(MOST)).to_json(orient="records"))
        return _json(records, rows), f"{len(records)} rows of {path.name}"
    columns = rebuilt.data.table_columns()
    if not columns:
        raise UserError("these data are no table, so requests need real inputs: name a file or a folder, `input=PATH`.")
    random = np.random.default_rng(seed)
    records = [{each["name"]: _drawn(each, random) for each in columns} for _ in range(MOST)]
    return _json(records, rows), f"{MOST} rows drawn by the training table's statistics"


def _json(records: list[dict[str, Any]], rows: int) -> list[Body]:
    if not records:
        raise UserError("there is nothing to send: the input holds no rows.")
    groups = [[records[(at + step) % len(records)] for step in range(rows)] for at in range(0, len(records), rows)]
    return [Body(json.dumps({"inputs": group}).encode(), rows=rows) for group in groups]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][:MOST]


def _drawn(column: dict[str, Any], random: np.random.Generator) -> Any:
    """A value of a column: of numbers, one around the mean; of categories, one of those that are known."""
    if column["kind"] == "category" and column["categories"]:
        return str(random.choice(column["categories"]))
    if column["kind"] == "boolean":
        return bool(random.random() < column["mean"])
    if column["kind"] == "date":
        return "2020-01-15"
    if column["kind"] == "text":
        return "a text"
    value = float(random.normal(column["mean"], column["std"]))
    return round(value) if column["type"] == "long" else round(value, 4)
