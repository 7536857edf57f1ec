"""A model ready to answer requests: inputs prepared as in training, and answers as `lantu predict` gives them."""

import math
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from lantu.data.table.column import Column
from lantu.data.table.row_encoder import RowEncoder
from lantu.errors import UserError
from lantu.inference.rebuild import Rebuilt
from lantu.notices import collected
from lantu.tasks.interface import TaskInterface
from lantu.tasks.outputs import join, to_host

Record = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """A file of a request."""

    name: str
    content: bytes


@dataclass
class Prepared:
    """The inputs of one request."""

    x: Tensor | None = None
    """(N, ...), where requests can be joined into one batch."""
    batches: list[Any] = field(default_factory=list)
    """Otherwise batches of the data module's own."""
    examples: Any = None
    rows: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    """Why a file gets no answer, by its place in the request."""
    warnings: dict[int, list[str]] = field(default_factory=dict)
    """Values of a row that were taken as missing, by its place."""


def table_columns(model: "ServedModel") -> list[Column]:
    """The columns of the table that a model was trained on; [] for other data."""
    return [Column(**each) for each in model.data.table_columns()]


class ServedModel:
    """One version of a model.

    Args:
        rebuilt: from a checkpoint or an export.
        name: what clients call it.
        version: of the registry, or the run's name.
    """

    def __init__(self, rebuilt: Rebuilt, *, name: str, version: str) -> None:
        self.rebuilt = rebuilt
        self.name = name
        self.version = version
        self.task: Any = rebuilt.task
        self.data = rebuilt.data
        self.prompted = self.task.prompted
        # a task with `predictions` of its own needs a batch's inputs alone, which requests can be joined to
        self._joins = type(self.task).predictions is not TaskInterface.predictions and not self.task.carried_columns
        columns = [Column(**each) for each in self.data.table_columns()]
        self._encoder = RowEncoder(columns) if columns else None

    def schema(self) -> list[dict[str, str]]:
        """The columns of a row; [] where the data module does not tell."""
        if self.prompted:
            return [{"name": "prompt", "type": "string"}]
        try:
            found = self.data.schema()
        except UserError:
            return []
        known = {each["name"] for each in found}
        return [*found, *({"name": name, "type": "string"} for name in self.task.carried_columns if name not in known)]

    def takes_files(self) -> bool:
        """Whether inputs are pictures or recordings."""
        return any(each["type"] == "binary" for each in self.schema())

    def prepare_rows(self, rows: list[Record]) -> Prepared:
        """Rows of a request as inputs.

        Raises:
            UserError: a column is lacking, or a value cannot be used.
        """
        if self._encoder is not None and self._joins:
            x = torch.empty(len(rows), self._encoder.features)
            for place, row in enumerate(rows):
                x[place] = torch.from_numpy(self._encoder.encode(row))
            warnings = {place: found for place, row in enumerate(rows) if (found := self._encoder.warnings(row))}
            return Prepared(x=x, rows=len(rows), warnings=warnings)
        self._check_values(rows)
        with collected() as sentences:
            prepared = self._prepared(self.data.batches_of(pd.DataFrame(rows)), len(rows))
        prepared.warnings = {place: sentences for place in range(len(rows)) if sentences}
        return prepared

    def _check_values(self, rows: list[Record]) -> None:
        """Refuse rows that lack a value which others have, and lists and objects where a text or a number belongs."""
        files = self.takes_files()
        for name in [each["name"] for each in self.schema() if each["type"] != "binary"]:
            given = [name in row for row in rows]
            if any(given) and not all(given) and not files:
                raise UserError(f"Row {given.index(False)} lacks the column {name}.")
            for row in rows:
                if isinstance(value := row.get(name), list | dict):
                    raise UserError(
                        f"`{name}` is a {type(value).__name__}; a value is text, a number, true, false or null."
                    )

    def prepare_files(self, files: list[Sent]) -> Prepared:
        """Files of a request as inputs, read as `lantu predict input=FOLDER` reads them.

        Raises:
            UserError: the model takes rows.
        """
        if self._encoder is not None:
            raise UserError('this model takes rows of a table and no files: send {"inputs": [{...}]} as JSON.')
        with tempfile.TemporaryDirectory(prefix="lantu-request-") as name:
            for place, file in enumerate(files):
                ending = ".nii.gz" if file.name.lower().endswith(".nii.gz") else Path(file.name).suffix[:10]
                (Path(name) / f"{place:06d}{ending if ending.isascii() else ''}").write_bytes(file.content)
            try:
                with collected():  # of unreadable files, which the answers name too
                    loader, rows = self.data.predict_rows(Path(name))
                    prepared = self._prepared(loader, len(files))
            except UserError as error:  # whose paths are not the client's
                raise UserError(str(error).replace(f"`input={name}`: ", "").replace(f"{name}/", "")) from error
        if "unreadable" in rows:
            reasons = rows["unreadable"].reset_index(drop=True).dropna()
            prepared.unreadable = {int(place): str(why) for place, why in reasons.items()}
        return prepared

    def _prepared(self, loader: Any, rows: int) -> Prepared:
        batches = list(loader)
        if self._joins and batches and all(isinstance(each, Tensor) for each in batches):
            same = len({each.shape[1:] for each in batches}) == 1
            if same:
                return Prepared(x=torch.cat(batches), examples=loader.dataset, rows=rows)
        return Prepared(batches=batches, examples=loader.dataset, rows=rows)

    def answer(self, requests: list[Prepared]) -> list[list[Record]]:
        """The answers of several requests, one list of records each; inputs of one shape are one batch."""
        found: list[list[Record]] = [[] for _ in requests]
        groups: dict[Any, list[int]] = {}
        for number, request in enumerate(requests):
            key = number if request.x is None else tuple(request.x.shape[1:])
            groups.setdefault(key, []).append(number)
        with torch.inference_mode():
            for numbers in groups.values():
                for number, records in zip(numbers, self._together([requests[each] for each in numbers]), strict=True):
                    found[number] = _with_gaps(records, requests[number])
        return found

    def _together(self, requests: list[Prepared]) -> list[list[Record]]:
        if requests[0].x is None:
            (request,) = requests
            outputs = [to_host(self.task.predict_step(batch, number)) for number, batch in enumerate(request.batches)]
            return [_records(self.task.to_frame(join(outputs), request.examples))]
        x = torch.cat([each.x for each in requests if each.x is not None])
        size = max(self.data.batch_size, 1)
        outputs = [to_host(self.task.predict_step(x[at : at + size])) for at in range(0, len(x), size)]
        records = _records(self.task.to_frame(join(outputs), requests[0].examples))
        ends = torch.tensor([0, *(len(each.x) for each in requests if each.x is not None)]).cumsum(0).tolist()
        return [records[start:end] for start, end in pairwise(ends)]


def _records(frame: pd.DataFrame) -> list[Record]:
    """Rows as plain values that JSON has."""
    columns = {str(name): [_plain(value) for value in frame[name].tolist()] for name in frame}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


def _with_gaps(records: list[Record], request: Prepared) -> list[Record]:
    """With a record that says why for each file that could not be read, and what of a row was not understood."""
    for place, sentences in request.warnings.items():
        records[place]["warnings"] = sentences
    if not request.unreadable:
        return records
    answers = iter(records)
    return [
        {"unreadable": request.unreadable[place]} if place in request.unreadable else next(answers)
        for place in range(request.rows)
    ]
