"""Predict one or more numbers."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MetricCollection
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.tasks.baselines import Baseline, fit_baselines
from lantu.tasks.known_metrics import R2
from lantu.tasks.outcomes import NumberOutcomes
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


class Regression(Task):
    """Networks answer (N, targets) on the standardised scale; metrics are in the target's own units.

    Args:
        target_names: what the targets are called.
        target_mean, target_std: of the training split, one number per target.
        loss: mse, mae or huber.
    """

    linear_model = "regression"
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

    def observe(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        # In the target's units but around its mean, which changes none of the scores: far from zero the squares of
        # float32 would round the variance away. Flattened: for several targets the scores are over all of them.
        metrics.update((output.float() * self.target_std).flatten(), (y.float() * self.target_std).flatten())

    def observe_extra(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        """Feed predictions and targets in the targets' own units: (N,) of one target, (N, targets) of several."""
        predicted, truth = self.in_units(output), self.in_units(y)
        one = len(self.target_names) == 1
        metrics.update(predicted.flatten() if one else predicted, truth.flatten() if one else truth)

    def predictions(self, output: Tensor) -> Outputs:
        """Predictions (N, targets) in the target's own units."""
        return {"prediction": self.in_units(output)}

    def explained(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The quantities in their own units; of several targets the first is explained."""
        values = self.in_units(output)
        return values, values, torch.zeros(len(values), dtype=torch.long, device=values.device)

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """`prediction`, or `prediction_NAME` for each of several targets, in the target's own units."""
        import pandas as pd

        return pd.DataFrame(outputs["prediction"].double().numpy(), columns=self._columns())

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("double", name) for name in self._columns()])

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """Target and prediction in the target's own units, `target_NAME` for several, and the loss."""
        predicted = self.in_units(outputs["output"].to(self.target_mean.device)).cpu().numpy()
        truth = self.in_units(outputs["y"].to(self.target_mean.device)).cpu().numpy()
        columns: dict[str, Any] = {} if "row" not in outputs else {"row": outputs["row"]}
        for number, name in enumerate(self._columns()):
            columns[name.replace("prediction", "target", 1)] = truth[:, number]
            columns[name] = predicted[:, number]
        losses = self._loss(outputs["output"].float(), outputs["y"].float(), reduction="none")
        return {**columns, "loss": losses.mean(dim=1).numpy()}

    def favourable_class(self, named: str | None) -> None:
        if named is not None:
            raise UserError(f"`fairness.favourable={named}` names a class, and these data have numbers: leave it out.")

    def outcomes(self, outputs: Outputs, *, favourable: str | None = None) -> NumberOutcomes:
        device = self.target_mean.device
        predicted, true = (self.in_units(outputs[name].to(device)).cpu().double().numpy() for name in ("output", "y"))
        return NumberOutcomes(self.target_names, predicted, true)

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: prediction against truth, for each target."""
        if stage == "test" and outputs:
            from lantu.tasks.plots import regression_figures

            device = self.target_mean.device
            predicted, truth = (self.in_units(outputs[name].to(device)).cpu().numpy() for name in ("output", "y"))
            yield from regression_figures(predicted, truth, self.target_names).items()

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        return fit_baselines(data, kind="regression")

    @classmethod
    def baselines_for(cls, data: DataModule, options: Mapping[str, Any]) -> list[Baseline]:
        """Measured by the task's own loss."""
        return fit_baselines(data, kind="regression", loss=str(options.get("loss") or "mse"))

    def _columns(self) -> list[str]:
        several = len(self.target_names) > 1
        return [f"prediction_{name}" if several else "prediction" for name in self.target_names]
