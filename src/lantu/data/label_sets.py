"""Targets of which each example has any number: labels in several columns, or several of them in one cell."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from lantu.data.source_files import files_of, reads
from lantu.data.sources import Raw
from lantu.data.values import as_text, is_missing, truths
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

DELIMITERS = {"bar": "|", "comma": ",", "semicolon": ";", "space": " "}
"""Names for what a command line needs quotes for."""
COLUMN = "labels"
"""What the column is called that several columns are joined to."""
UNCERTAIN = ("-1", "-1.0")
"""How CheXpert (Irvin et al. 2019) says that a label is uncertain; it is unknown here."""
_BAR, _UNKNOWN = "\x1f", "\x1e"
"""In a cell of a joined column: what stands around each label, and what stands before one that is unknown."""


@dataclass(frozen=True)
class LabelSets:
    """Label names in the order of their numbers; an example has any number of them."""

    names: list[str]
    kind: Literal["multilabel"] = "multilabel"

    @classmethod
    def of(cls, values: pd.Series, *, named: list[str] | None = None) -> "LabelSets":
        """The labels of a joined column: as named, or sorted.

        Raises:
            UserError: fewer than two labels, or one that the given names lack.
        """
        found = sorted({label for cell in values.unique() for label in members(cell)[0] | members(cell)[1]})
        if named is not None and (strange := sorted(set(found) - set(named))):
            raise UserError(f"`data.classes={named}` lacks {strange[0]!r}, which occurs in the data.")
        names = list(named) if named is not None else found
        if len(names) < 2:
            raise UserError(
                f"The labels are {names}: where there are fewer than two, name one column, `data.target=COLUMN`, "
                "without `data.delimiter`."
            )
        return cls(names)

    def encode(self, values: pd.Series) -> "Tensor":
        """(N, labels) float32: 1 where an example has a label, 0 where it has not, NaN where that is unknown."""
        import torch

        number = {name: place for place, name in enumerate(self.names)}
        encoded = np.zeros((len(values), len(self.names)), dtype=np.float32)
        for row, cell in enumerate(values):
            has, unknown = members(cell)
            encoded[row, [number[label] for label in has if label in number]] = 1
            encoded[row, [number[label] for label in unknown if label in number]] = np.nan
        return torch.from_numpy(encoded)

    def facts(self, y: "Tensor") -> dict[str, Any]:
        """The part of `spec` that describes the target; y are the training targets."""
        return {
            "task": self.kind,
            "outputs": len(self.names),
            "label_names": list(self.names),
            "label_counts": (y == 1).sum(dim=0).tolist(),
            "label_known": (y == y).sum(dim=0).tolist(),  # noqa: PLR0124 - NaN is not equal to itself
        }

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": list(self.names)}


def members(cell: str) -> tuple[set[str], set[str]]:
    """The labels that a cell of a joined column has, and those of which it is unknown."""
    parts = [part for part in str(cell).split(_BAR) if part]
    unknown = {part.removeprefix(_UNKNOWN) for part in parts if part.startswith(_UNKNOWN)}
    return {part for part in parts if not part.startswith(_UNKNOWN)}, unknown


def frequencies(values: pd.Series, names: list[str]) -> str:
    """How many of some rows have each label, the commonest first, for the report."""
    counts = dict.fromkeys(names, 0)
    for cell, count in values.value_counts().items():
        for label in members(str(cell))[0] & set(names):
            counts[label] += int(count)
    ordered = sorted(names, key=lambda name: -counts[name])
    shown = ", ".join(f"{name} {counts[name] / max(1, len(values)):.1%}" for name in ordered[:10])
    return f"labels, by their share of the training rows: {shown}{', ...' if len(names) > 10 else ''}"


@reads(lambda source, **_: files_of(source))
def joined_labels(source: Callable[[], Raw], *, target: str | list[str], delimiter: str | None) -> Raw:
    """Rows whose labels are joined in one column: `labels`, or the target where that is one column.

    Args:
        target: the columns, one for each label, with 1 or 0, yes or no and the like; a missing value is unknown. Or
            one column whose cells hold any number of labels; an empty cell has none.
        delimiter: what stands between the labels of a cell, or its name in `DELIMITERS`.

    Raises:
        UserError: no such column, or a value that says neither yes nor no.
    """
    columns = [target] if isinstance(target, str) else list(target)
    if not columns:
        raise UserError("`data.target=[]` names no column: name one, or several as `data.target=[a,b]`.")
    raw = source()
    for name in columns:
        if name not in raw.rows:
            shown = ", ".join(map(str, list(raw.rows)[:20]))
            raise UserError(
                f"`data.target={target}`: {raw.name} has no column {name}.{did_you_mean(name, list(raw.rows))} "
                f"There are: {shown}."
            )
    if isinstance(target, str):
        assert delimiter is not None
        return replace(
            raw, rows=raw.rows.assign(**{target: _split(raw.rows[target], DELIMITERS.get(delimiter, delimiter))})
        )
    truth = np.stack([_truth(raw.rows[name]) for name in columns], axis=1)
    marks = np.where(truth == 1, "", _UNKNOWN)
    joined = [
        _joined([f"{mark}{name}" for name, mark, value in zip(columns, row, values, strict=True) if value != 0])
        for row, values in zip(marks, truth, strict=True)
    ]
    nothing = np.isnan(truth).all(axis=1)
    labels = pd.Series(joined, index=raw.rows.index, dtype=object).mask(nothing, None)
    unknown = int(np.isnan(truth[~nothing]).sum())
    sentences = [f"{unknown:,} labels without a value are neither learned nor measured"] if unknown else []
    rows = raw.rows.drop(columns=columns).assign(**{COLUMN: labels})
    return replace(raw, rows=rows, notes=[*raw.notes, *sentences])


def _split(values: pd.Series, delimiter: str) -> pd.Series:
    def cell(text: Any) -> str:
        whole = "" if pd.isna(text) else str(text)
        return _joined([part.strip() for part in whole.split(delimiter) if part.strip() and not is_missing(part)])

    return values.map(cell).astype(object)


def _joined(labels: list[str]) -> str:
    return _BAR + "".join(f"{label}{_BAR}" for label in sorted(set(labels)))


def _truth(values: pd.Series) -> np.ndarray:
    """1, 0 or NaN (N,) of a column that says of each row whether it has a label."""
    found = truths(values)
    for text in as_text(values[np.isnan(found) & values.notna()]).unique():
        if not is_missing(text) and text not in UNCERTAIN:
            raise UserError(
                f"`data.target`: the column {values.name} holds {text!r}, which says neither yes nor no. Columns of "
                "labels hold 1 or 0, true or false, yes or no; a missing value is unknown."
            )
    return found
