"""Examples with several kinds of inputs, fetched a whole batch at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lantu.data.image.augment import Augment, Draws
from lantu.data.multimodal.input_kinds import Column, Input
from lantu.data.samplers import Chosen
from lantu.errors import UserError

_HIDE = 100
"""Added to an input's number, so that its draws differ from those of the pictures' changes."""


class MixedExamples(Dataset):
    """Rows with several inputs, some of which may be missing, and their targets.

    A batch's inputs are a dict with a tensor for each input by its name, zeros where a row has none, and `NAME_present`
    bool (N,) where `masks` is set.

    Args:
        parts: for each kind of input its column of all rows, encoded, and its learned state.
        rows: which rows the examples are.
        targets: tensors (N, ...) by name, or one tensor; None: batches are inputs alone.
        masks: whether batches say which values are present.
        augment: changes training pictures.
        hide: probability that a training example loses an input; it always keeps one.
    """

    def __init__(
        self,
        parts: Mapping[str, tuple[Input, Column, Any, dict[str, Any]]],
        *,
        rows: np.ndarray,
        targets: Tensor | dict[str, Tensor] | None = None,
        masks: bool = False,
        augment: Augment | None = None,
        hide: float = 0.0,
    ) -> None:
        self.parts = parts
        self.rows = rows
        self.targets = targets
        self.masks = masks
        self.augment = augment
        self.hide = hide

    @property
    def y(self) -> Any:
        """The targets."""
        return self.targets

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Any:
        rows = self.rows[indices]
        draws = None
        if self.targets is not None and isinstance(indices, Chosen):
            draws = Draws(indices.seed, indices.epoch, np.asarray(indices), np.asarray(indices.repeats))
        present = {name: column.present[rows] for name, (_, column, _, _) in self.parts.items()}
        if draws is not None and self.hide:
            present = self._hidden(present, draws)
        x: dict[str, Tensor] = {}
        for name, (kind, _, encoded, state) in self.parts.items():
            values = encoded[rows]
            if name == "image" and draws is not None and self.augment is not None:
                values = self.augment.pictures(torch.from_numpy(np.asarray(values)), draws)
            there = torch.from_numpy(present[name])
            x[name] = kind.batch(values, state)
            if not there.all():
                x[name] = x[name] * there.view(-1, *[1] * (x[name].ndim - 1))
            if self.masks:
                x[f"{name}_present"] = there
        if self.targets is None:
            return x
        if isinstance(self.targets, Tensor):
            return x, self.targets[indices]
        return x, {name: target[indices] for name, target in self.targets.items()}

    def _hidden(self, present: dict[str, np.ndarray], draws: Draws) -> dict[str, np.ndarray]:
        """Return which inputs stay after some are hidden at random; an example that would lose all keeps all."""
        shown = {
            name: there & (draws.uniform(_HIDE + number) >= self.hide)
            for number, (name, there) in enumerate(present.items())
        }
        loses_all = ~np.any(list(shown.values()), axis=0)
        return {name: np.where(loses_all, present[name], there) for name, there in shown.items()}


def without_mixing(augment: Augment | None) -> Augment | None:
    """Return the augmentation, for pictures that have other inputs beside them.

    Raises:
        UserError: it mixes pictures, whose other inputs cannot be mixed.
    """
    if augment and (augment.mixup or augment.cutmix):
        raise UserError(
            "`augment.mixup` and `augment.cutmix` mix pictures, and their texts cannot be mixed: set both to 0."
        )
    return augment or None
