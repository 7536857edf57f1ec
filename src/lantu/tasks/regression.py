"""Predict one or more numbers."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from lantu.errors import UserError
from lantu.tasks.base import Task
from lantu.tasks.known_metrics import R2

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


class Regression(Task):
    """Networks answer (N, targets) on the standardised scale; metrics are in the target's own units.

    Args:
        target_names: what the targets are called.
        target_mean, target_std: of the training split, one number per target.
        loss: mse, mae or huber.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        target_names: list[str],
        target_mean: list[float],
        target_std: list[float],
        loss: str = "mse",
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if loss not in LOSSES:
            raise UserError(f"`task.loss={loss}`: the losses are {', '.join(LOSSES)}.")
        self.target_names = target_names
        self._loss = LOSSES[loss]
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_std", torch.tensor(target_std, dtype=torch.float32))
        self.use_metrics(
            lambda: MetricCollection(
                {
                    "mse": MeanSquaredError(),
                    "rmse": MeanSquaredError(squared=False),
                    "mae": MeanAbsoluteError(),
                    "r2": R2(),
                },
                compute_groups=False,
            )
        )

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        return self._loss(output, y)

    def in_units(self, standardised: Tensor) -> Tensor:
        """Back from the standardised scale to the target's own units, same shape (N, targets)."""
        return standardised.float() * self.target_std + self.target_mean

    def observe(self, metrics: Metric | MetricCollection, output: Tensor, y: Tensor) -> None:
        # In the target's units but around its mean, which changes none of the scores: far from zero the squares of
        # float32 would round the variance away. Flattened: for several targets the scores are over all of them.
        metrics.update((output.float() * self.target_std).flatten(), (y.float() * self.target_std).flatten())

    def predict_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Predictions (N, targets) in the target's own units."""
        return {"prediction": self.in_units(self.net(batch))}
