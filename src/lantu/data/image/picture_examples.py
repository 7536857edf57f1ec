"""Pictures with their targets, changed at random in training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.data.batches import Examples
from lantu.data.image.augment import Augment, Draws
from lantu.data.samplers import Chosen


class PictureExamples(Examples):
    """Pictures (N, H, W, C) as bytes, with targets.

    Args:
        augment: changes the pictures of training batches; other batches stay as they are.
        classes: of the targets, for targets that are mixed; None: they are numbers.
        options: of `Examples`.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: Tensor | None = None,
        *,
        finish: Callable[[Tensor], Tensor],
        augment: Augment | None = None,
        classes: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(x, y, finish=finish, **options)
        self.augment = augment
        self.classes = classes

    def __getitems__(self, indices: list[int]) -> Tensor | tuple[Tensor, Tensor]:
        if self.augment is None or self.y is None or not isinstance(indices, Chosen):
            return super().__getitems__(indices)
        assert self.finish is not None
        draws = Draws(indices.seed, indices.epoch, np.asarray(indices), np.asarray(indices.repeats))
        pictures = self.changed(draws)
        return self.augment.mixed(self.finish(pictures), self.y[list(indices)], draws, classes=self.classes)

    def changed(self, draws: Draws) -> Tensor:
        """Augmented pictures (N, H, W, C) as bytes, before they are mixed."""
        assert self.augment is not None
        return self.augment.pictures(torch.from_numpy(np.asarray(self.x[self.rows[draws.examples]])), draws)
