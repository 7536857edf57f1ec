"""The kinds of targets: classes, and numbers on a standardised scale; sets of labels are in `label_sets`."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from lantu.data.label_sets import LabelSets
from lantu.data.positive_class import positive_of
from lantu.data.values import as_text
from lantu.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MOST_CLASSES = 20
"""A column of numbers with more distinct values than this is a quantity."""


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their numbers."""

    names: list[str]
    kind: Literal["classification"] = "classification"

    @property
    def positive(self) -> str | None:
        """Of two classes the one that precision, recall, F1 and AUROC are about: the last."""
        return self.names[-1] if len(self.names) == 2 else None

    @classmethod
    def of(cls, values: pd.Series, *, named: list[str] | None = None, positive: str | None = None) -> "Classes":
        """The classes of a column: as named, as its categories are ordered, or sorted, with the positive of two last.

        Raises:
            UserError: fewer than two classes, nearly as many as rows, or values that the given names lack.
        """
        texts = as_text(values)
        if named is not None:
            unknown = sorted(set(texts.unique()) - set(named))
            if unknown:
                raise UserError(f"`data.classes={named}` lacks {unknown[0]!r}, which occurs in the data.")
            return cls(_with_last(list(named), positive))
        if isinstance(values.dtype, pd.CategoricalDtype):
            present = [str(name) for name in values.cat.categories]
        else:
            present = sorted(as_text(pd.Series(values.unique())), key=_in_order)
        if len(present) < 2:
            raise UserError(f"`data.target={values.name}` has the single value {present}; there is nothing to learn.")
        if len(present) > MOST_CLASSES and len(present) > len(values) / 2:
            raise UserError(
                f"`data.target={values.name}` has {len(present):,} different values in {len(values):,} rows: too many "
                "to be classes. Name another column, or one of numbers with `data.task=regression`."
            )
        if positive is None and len(present) == 2 and not isinstance(values.dtype, pd.CategoricalDtype):
            positive = positive_of(present, texts.value_counts().to_dict())
        return cls(_with_last(present, positive))

    def codes(self, values: pd.Series) -> np.ndarray:
        """Class numbers (N,); -1 for a class that is not known. Letter case and spaces do not count."""
        known = {loose(name): number for number, name in enumerate(self.names)}
        found = pd.Categorical(as_text(values), categories=self.names).codes.astype(np.int64)
        strange = np.flatnonzero(found < 0)
        found[strange] = [known.get(loose(text), -1) for text in as_text(values.iloc[strange])]
        return found

    def encode(self, values: pd.Series) -> "Tensor":
        """Class numbers (N,); -1 for a class that is not known."""
        import torch

        return torch.from_numpy(self.codes(values))

    def facts(self, y: "Tensor") -> dict[str, Any]:
        """The part of `spec` that describes the target; y are the training targets."""
        import torch

        counts = torch.bincount(y, minlength=len(self.names)).tolist()
        number = len(self.names)
        return {
            "task": self.kind,
            "outputs": number,
            "classes": number,
            "class_names": list(self.names),
            "class_counts": counts,
            "positive_class": self.positive,
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
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(numbers.mean()), float(numbers.std(ddof=0))
        if not np.isfinite([mean, std]).all():
            raise UserError(_too_large(values.name, numbers.iloc[int(numbers.abs().argmax())]))
        if std == 0:
            raise UserError(
                f"`data.target={values.name}` is {numbers.iloc[0]} in every row; there is nothing to learn."
            )
        return cls(str(values.name), mean, std)

    def encode(self, values: pd.Series) -> "Tensor":
        """(N, 1) on the standardised scale.

        Raises:
            UserError: a number there is beyond what 32 bits hold.
        """
        import torch

        given = pd.to_numeric(values).to_numpy(dtype=np.float64)
        with np.errstate(over="ignore"):
            numbers = ((given - self.mean) / self.std).astype(np.float32)
        if len(beyond := given[np.isinf(numbers)]):
            raise UserError(_too_large(self.name, beyond[0]))
        return torch.from_numpy(numbers[:, None])

    def facts(self, y: "Tensor") -> dict[str, Any]:
        return {
            "task": self.kind,
            "outputs": 1,
            "target_names": [self.name],
            "target_mean": [self.mean],
            "target_std": [self.std],
        }

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "mean": self.mean, "std": self.std}


Target = Classes | LabelSets | Numbers


def restored(state: dict[str, Any]) -> Target:
    """The target that a state describes."""
    values = {key: value for key, value in state.items() if key != "kind"}
    kinds: dict[str, type[Target]] = {"classification": Classes, "multilabel": LabelSets, "regression": Numbers}
    return kinds[state["kind"]](**values)


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


def loose(text: str) -> str:
    """Return a class name without letter case and repeated spaces, which do not distinguish classes."""
    return " ".join(str(text).casefold().split())


def alike(names: Iterable[str]) -> list[str]:
    """Those of some class names that differ from another one in letter case or spaces alone, sorted."""
    classes = sorted(set(names))
    counts = Counter(map(loose, classes))
    return [each for each in classes if counts[loose(each)] > 1]


def _too_large(name: Any, number: float) -> str:
    return (
        f"`data.target={name}` has the value {number:g}, which is too large to be learned beside the others. Correct "
        "or remove such rows, or have the column in other units (its logarithm)."
    )


def _in_order(name: str) -> tuple[float, str]:
    """Numbers by their size, before texts by their letters."""
    try:
        return (float(name), name)
    except ValueError:
        return (float("inf"), name)


def _with_last(names: list[str], positive: str | None) -> list[str]:
    if positive is None:
        return names
    found = [name for name in names if name == positive] or [name for name in names if loose(name) == loose(positive)]
    if not found:
        raise UserError(f"`data.positive={positive}`: the classes are {', '.join(names[:10])}.")
    if len(names) != 2:
        raise UserError(
            f"`data.positive={positive}`: one of two classes can be the positive one, and there are {len(names)}; "
            "their figures are means over the classes."
        )
    return [name for name in names if name != found[0]] + found
