"""What is explained: inputs as the network takes them, cut into features that a person knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.extras import require
from lantu.tasks import Task


def require_libraries(asked: str) -> None:
    """Refuse to explain where captum or shap is not installed."""
    require("captum", asked, "explain")
    require("shap", asked, "explain")


@dataclass(frozen=True)
class Explained:
    """Examples with the number of each that is explained.

    Args:
        kind: picture (N, C, H, W), row (N, F) or text (N, L).
        x: the inputs, as the network takes them.
        which: of each example the output that is explained, such as its class (N,).
        names: of the outputs.
        shown: of each example the value that is explained, a probability or a quantity (N,).
        layer: the name of the layer that Grad-CAM is of; None: the last convolution.
    """

    kind: str
    task: Task
    data: DataModule
    x: Tensor
    which: Tensor
    names: list[str]
    shown: Tensor
    layer: str | None = None

    def scores(self, x: Tensor, which: Tensor) -> Tensor:
        """What gradients are taken of: logits or quantities (M,)."""
        scores, _, _ = self.task.explained(self.task.answer(x, stage="predict"))
        return scores.gather(1, which[:, None])[:, 0]

    @torch.no_grad()
    def values(self, x: Tensor, which: Tensor, *, batch: int = 512) -> Tensor:
        """What curves show: probabilities or quantities (M,)."""
        found = []
        for part, chosen in zip(x.split(batch), which.split(batch), strict=True):
            _, shown, _ = self.task.explained(self.task.answer(part, stage="predict"))
            found.append(shown.gather(1, chosen[:, None])[:, 0])
        return torch.cat(found)

    @property
    def baseline(self) -> Tensor:
        """Inputs (N, ...) that say nothing: the mean picture, a row of means, padding."""
        if self.kind == "text":
            return torch.full_like(self.x, int(self.data.spec.get("pad_id", 0)))
        return torch.zeros_like(self.x)

    @property
    def groups(self) -> list[list[int]]:
        """The places of each feature among the flattened numbers of an example: pixels, columns, tokens."""
        if self.kind == "picture":
            pixels = self.x.shape[2] * self.x.shape[3]
            return [[channel * pixels + place for channel in range(self.x.shape[1])] for place in range(pixels)]
        if self.kind == "row":
            return [places for _, places in self.columns]
        return [[place] for place in range(self.x.shape[1])]

    @property
    def columns(self) -> list[tuple[str, list[int]]]:
        """Of rows: each column of the table with the places of its features."""
        return self.data.feature_groups() or [(f"feature {place}", [place]) for place in range(self.x.shape[1])]

    def there(self, number: int) -> Tensor:
        """Of an example: which features it has (F,), such as tokens that are no padding."""
        if self.kind != "text":
            return torch.ones(len(self.groups), dtype=torch.bool)
        return self.x[number] != self.baseline[number]


def explained(task: Task, data: DataModule, x: Any, *, layer: str | None = None) -> Explained:
    """Inputs with the answers that are explained.

    Args:
        layer: the name of the layer that Grad-CAM is of; None: the last convolution.

    Raises:
        UserError: the inputs are of no kind that can be explained.
    """
    kinds: dict[tuple[bool, int], str] = {(True, 4): "picture", (True, 2): "row", (False, 2): "text"}
    kind = kinds.get((x.is_floating_point(), x.ndim)) if isinstance(x, Tensor) else None
    if kind is None:
        raise UserError(
            f"`explain` knows pictures (N, C, H, W), rows (N, F) and texts (N, L), and {type(data).__name__} gives "
            "inputs of another form."
        )
    with torch.no_grad():
        scores, shown, which = task.explained(task.answer(x, stage="predict"))
    names = list(
        getattr(task, "class_names", None) or getattr(task, "target_names", None) or map(str, range(scores.shape[1]))
    )
    values = shown.gather(1, which[:, None])[:, 0]
    return Explained(kind=kind, task=task, data=data, x=x, which=which, names=names, shown=values, layer=layer)


Method = Callable[[Explained], Tensor]
"""From examples to what each of their features adds to the explained score: (N, features)."""
