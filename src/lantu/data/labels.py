"""The two kinds of targets: classes, and numbers on a standardised scale."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lantu.errors import UserError

MOST_CLASSES = 20
"""A column of numbers with more different values than this is taken for a quantity."""


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their numbers."""

    names: list[str]
    kind: Literal["classification"] = "classification"

    @classmethod
    def of(cls, values: pd.Series, *, named: list[str] | None = None) -> "Classes":
        """The classes of a column: as named, as its categories are ordered, or sorted.

        Raises:
            UserError: fewer than two classes, or values that the given names lack.
        """
        texts = as_text(values)
        if named is not None:
            unknown = sorted(set(texts.unique()) - set(named))
            if unknown:
                raise UserError(f"`data.classes={named}` lacks {unknown[0]!r}, which occurs in the data.")
            return cls(list(named))
        if isinstance(values.dtype, pd.CategoricalDtype):
            present = [str(name) for name in values.cat.categories]
        else:
            present = list(as_text(pd.Series(np.sort(values.unique()))))
        if len(present) < 2:
            raise UserError(f"`data.target={values.name}` has the single value {present}; there is nothing to learn.")
        return cls(present)

    def encode(self, values: pd.Series) -> Tensor:
        """Class numbers (N,); -1 for a class that is not known."""
        codes = pd.Categorical(as_text(values), categories=self.names).codes
        return torch.from_numpy(codes.astype(np.int64))

    def facts(self, y: Tensor) -> dict[str, Any]:
        """What a model may need to know; y are the training targets."""
        counts = torch.bincount(y, minlength=len(self.names)).tolist()
        number = len(self.names)
        return {
            "task": self.kind,
            "outputs": number,
            "classes": number,
            "class_names": list(self.names),
            "class_counts": counts,
        }

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "names": list(self.names)}


@dataclass(frozen=True)
class Numbers:
    """One target, standardised with the training split's mean and deviation."""

    name: str
    mean: float
    std: float
    kind: Literal["regression"] = "regression"

    @classmethod
    def of(cls, values: pd.Series) -> "Numbers":
        numbers = pd.to_numeric(values).astype(float)
        std = float(numbers.std(ddof=0))
        if std == 0:
            raise UserError(
                f"`data.target={values.name}` is {numbers.iloc[0]} in every row; there is nothing to learn."
            )
        return cls(str(values.name), float(numbers.mean()), std)

    def encode(self, values: pd.Series) -> Tensor:
        """(N, 1) on the standardised scale."""
        numbers = (pd.to_numeric(values).to_numpy(dtype=np.float64) - self.mean) / self.std
        return torch.from_numpy(numbers.astype(np.float32)[:, None])

    def facts(self, y: Tensor) -> dict[str, Any]:
        return {
            "task": self.kind,
            "outputs": 1,
            "target_names": [self.name],
            "target_mean": [self.mean],
            "target_std": [self.std],
        }

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "mean": self.mean, "std": self.std}


Target = Classes | Numbers


def restored(state: dict[str, Any]) -> Target:
    """The target that a state describes."""
    values = {key: value for key, value in state.items() if key != "kind"}
    return Classes(**values) if state["kind"] == "classification" else Numbers(**values)


def kind_of(values: pd.Series, asked: str = "auto") -> str:
    """ "classification" or "regression": as asked, or as the column looks.

    Raises:
        UserError: asked for something else, or for numbers where there are none.
    """
    if asked not in ("auto", "classification", "regression"):
        raise UserError(f"`data.task={asked}`: the kinds are auto, classification and regression.")
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if asked == "regression" and not numeric:
        raise UserError(f"`data.task=regression`: the column {values.name!r} does not hold numbers.")
    if asked != "auto":
        return asked
    return "regression" if numeric and values.nunique() > MOST_CLASSES else "classification"


def as_text(values: pd.Series) -> pd.Series:
    """Class values as their names: 1.0, which is what an integer becomes beside a missing value, is "1"."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype(str)
