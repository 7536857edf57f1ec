"""Forecast series: a value, quantiles or a distribution of each of the next steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.models.fold_networks import FoldNetworks, WindowNetwork
from lantu.tasks.baselines import Baseline
from lantu.tasks.forecast_heads import Head, head_of
from lantu.tasks.outputs import Outputs
from lantu.tasks.running_mean import Mean
from lantu.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema
    from torch.utils.data import Dataset


class Forecasting(Task):
    """Networks answer (N, horizon × targets × numbers of the head) on the scale of the window.

    The loss is on that scale; metrics are in the series' own units, over all steps and targets. Where the data have
    several folds, each has a network of its own (`FoldNetworks`).

    Args:
        target_names: the series.
        horizon: steps to forecast.
        folds: of the data.
        naive_error: of each series, the mean error of the (seasonal) naive forecast in training, for MASE.
        season: steps of a season.
        kind: point, quantile, student_t, skewed_t, or var_es.
        levels: of the quantiles that are forecast or reported; the outermost two are an interval.
        loss: of `kind=point`: mae, mse or huber.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        target_names: list[str],
        horizon: int,
        folds: int = 1,
        naive_error: Sequence[float] = (),
        season: int = 1,
        kind: str = "point",
        levels: Sequence[float] = (0.05, 0.5, 0.95),
        loss: str = "mse",
        **options: Any,
    ) -> None:
        super().__init__(_over_windows(net, folds), **options)
        self.target_names = list(target_names)
        self.horizon = horizon
        self.season = season
        self.levels = tuple(float(each) for each in levels)
        self.head: Head = head_of(kind, levels=self.levels, loss=loss)
        self.register_buffer("naive_error", torch.tensor(list(naive_error), dtype=torch.float32), persistent=False)
        for stage in ("val", "test"):
            metrics = MetricCollection(dict(self.metric_set(stage)), compute_groups=False)
            self.use_metrics(lambda made=metrics: made, stages=(stage,))  # type: ignore[misc]

    naive_error: Tensor

    @classmethod
    def facts(cls, spec: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        levels = options.get("levels") or (0.05, 0.5, 0.95)
        size = head_of(str(options.get("kind", "point")), levels=[float(each) for each in levels], loss="mse").size
        return {"outputs": spec["horizon"] * len(spec["target_names"]) * size}

    def metric_set(self, stage: str) -> dict[str, Metric]:
        """The metrics of a stage; those that the kind of forecast does not know are left out."""
        found: dict[str, Metric] = {"mae": MeanError(), "rmse": RootMean(), "mase": MeanError()}
        if self.head.has_quantiles:
            found["pinball"] = MeanError()
        if self._has_interval():
            found["coverage"] = Mean()
        raw = torch.zeros(1, self.head.size)
        if self.head.crps(raw, torch.zeros(1)) is not None:
            found["crps"] = MeanError()
        return found

    # The network

    def forward(self, x: Any) -> dict[str, Tensor]:
        """Raw numbers (N, horizon, targets, size), with the location and scale (N, 1, targets) of the window."""
        return self._placed(self.net(x), x)

    def answer(self, x: Any, *, stage: str) -> dict[str, Tensor]:
        return self(x)

    def loss(self, output: dict[str, Tensor], y: Tensor, *, stage: str) -> Tensor:
        return self.head.loss(output["raw"], y).mean()

    def _placed(self, raw: Tensor, x: Any) -> dict[str, Tensor]:
        parts = raw.unflatten(1, (self.horizon, len(self.target_names), self.head.size))
        return {"raw": parts, "location": x["location"][:, None], "scale": x["scale"][:, None]}

    def exported_predictions(self, x: Any, output: Any) -> Outputs:
        return self.predictions(self._placed(output, x))

    # Walk-forward validation

    def check_trainer(self, trainer: Trainer) -> None:
        super().check_trainer(trainer)
        if not isinstance(self.net, FoldNetworks):
            return
        if trainer.world_size > 1:
            raise UserError(
                f"`trainer.devices`: a walk trains a network for each fold on one device, not on {trainer.world_size}. "
                "Use `trainer.devices=1`; sweeps run several walks at once."
            )
        if any(type(each).__name__ == "EMA" for each in trainer.callbacks):
            raise UserError(
                "`callbacks=ema` averages the networks that each fold has chosen with those that it has not. Leave it "
                "out where `data.split` is a walk."
            )

    def on_validation_start(self) -> None:
        super().on_validation_start()
        if isinstance(self.net, FoldNetworks) and self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.net.keep(self._loss_of_each_fold(self.net))

    def _loss_of_each_fold(self, net: FoldNetworks) -> Tensor:
        """The mean validation loss of each fold's network as it is (folds,); infinite where it has no validation."""
        data = self.trainer.datamodule
        sums, counts = torch.zeros(len(net.best)), torch.zeros(len(net.best))
        for batch in data.loader(data.splits["val"]):
            x, y = self.trainer.strategy.batch_to_device(batch, self.device)
            output = self._placed(net(x, current=True), x)
            losses = self.head.loss(output["raw"], y).flatten(1).mean(1).cpu()
            sums.index_add_(0, x["fold"].cpu(), losses)
            counts.index_add_(0, x["fold"].cpu(), torch.ones_like(losses))
        return torch.where(counts > 0, sums / counts, torch.inf)

    # Metrics

    def observe(self, metrics: MetricCollection, output: dict[str, Tensor], y: Tensor) -> None:
        scale = output["scale"]
        error = (self.head.point(output["raw"]) - y) * scale  # (N, horizon, targets)
        metrics["mae"].add(error.abs().mean(), error.numel())
        metrics["rmse"].add((error**2).mean(), error.numel())
        metrics["mase"].add((error.abs() / self.naive_error).mean(), error.numel())
        if self.head.has_quantiles:
            quantiles = self.head.quantiles(output["raw"], self.levels)
            below = (y[..., None] - quantiles) * scale[..., None]
            levels = torch.tensor(self.levels, device=y.device)
            pinball = torch.maximum(levels * below, (levels - 1) * below)
            metrics["pinball"].add(pinball.mean(), pinball.numel())
            if "coverage" in metrics.keys(keep_base=True):
                inside = (y >= quantiles[..., 0]) & (y <= quantiles[..., -1])
                metrics["coverage"].add(inside.float().mean(), inside.numel())
        if "crps" in metrics.keys(keep_base=True):
            score = self.head.crps(output["raw"], y)
            assert score is not None
            metrics["crps"].add((score * scale).mean(), score.numel())

    def observe_extra(self, metrics: MetricCollection, output: dict[str, Tensor], y: Tensor) -> None:
        """Feed values and targets in the series' own units, flattened."""
        metrics.update(
            self._in_units(self.head.point(output["raw"]), output).flatten(), self._in_units(y, output).flatten()
        )

    def _has_interval(self) -> bool:
        return self.head.has_quantiles and self.levels[0] < 0.5 < self.levels[-1]

    def _in_units(self, value: Tensor, output: dict[str, Tensor]) -> Tensor:
        """From the scale of the window to the series' own: (N, horizon, targets), or with levels behind."""
        deeper = value.ndim - output["scale"].ndim
        location, scale = (output[name][(..., *[None] * deeper)] for name in ("location", "scale"))
        return location + scale * value

    # Predictions

    def predictions(self, output: dict[str, Tensor]) -> Outputs:
        """Values "prediction" (N, horizon, targets), and "quantile" (N, horizon, targets, levels) if they are known."""
        found = {"prediction": self._in_units(self.head.point(output["raw"]), output)}
        if self.head.has_quantiles:
            found["quantile"] = self._in_units(self.head.quantiles(output["raw"], self.levels), output)
        return found

    def to_frame(self, outputs: Outputs, examples: "Dataset") -> "pd.DataFrame":
        """A row for each row of the input: the forecast made after it. Rows without enough past have none."""
        import pandas as pd

        columns = {
            self._column(what, step, target): values[:, step, target].double().numpy()
            for what, values in self._by_name(outputs).items()
            for step in range(self.horizon)
            for target in range(len(self.target_names))
        }
        windows: Any = examples
        if windows.answered is None:
            return pd.DataFrame(columns)
        known = windows.answered >= 0
        frame = pd.DataFrame({name: values[known] for name, values in columns.items()}, index=windows.answered[known])
        return frame.reindex(range(windows.rows))

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        names = [
            "prediction",
            *(f"quantile_{each:g}" for each in self.levels * self.head.has_quantiles),
            *self._further(),
        ]
        return Schema(
            [
                ColSpec("double", self._column(name, step, target), required=False)
                for name in names
                for step in range(self.horizon)
                for target in range(len(self.target_names))
            ]
        )

    def _further(self) -> list[str]:
        """Names of predictions beside the value and its quantiles."""
        return []

    def _by_name(self, outputs: Outputs) -> dict[str, Tensor]:
        found = {"prediction": outputs["prediction"]}
        if "quantile" in outputs:
            found |= {f"quantile_{each:g}": outputs["quantile"][..., place] for place, each in enumerate(self.levels)}
        return found

    def _column(self, what: str, step: int, target: int) -> str:
        several = f"_{self.target_names[target]}" if len(self.target_names) > 1 else ""
        return f"{what}{several}" + (f"_step{step + 1}" if self.horizon > 1 else "")

    # What shows a run

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """The truth, the forecast and its quantiles for each step and series (of 24 in all at most), and the loss."""
        raw, y = outputs["output"], outputs["y"]
        columns: dict[str, Any] = {} if "row" not in outputs else {"row": outputs["row"]}
        truth, found = self._in_units(y, raw), self._by_name(self.predictions(raw))
        for step in range(self.horizon):
            for target in range(len(self.target_names)):
                if step * len(self.target_names) + target < 24:
                    for name, values in {"target": truth, **found}.items():
                        columns[self._column(name, step, target)] = values[:, step, target].numpy()
        return {**columns, "loss": self.head.loss(raw["raw"], y).flatten(1).mean(1).numpy()}

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: forecast and truth over time, the error by step, and the baselines of the same windows."""
        if stage != "test" or not outputs:
            return
        from lantu.tasks.forecast_figures import error_by_step, over_time

        raw = outputs["output"]
        found = self.predictions(raw)
        truth = self._in_units(outputs["y"], raw).numpy()
        value = found["prediction"].numpy()
        band = found["quantile"].numpy()[..., [0, -1]] if self._has_interval() else None
        data: Any = self.trainer.datamodule
        for target, name in list(enumerate(self.target_names))[:4]:
            shown = "forecast" if len(self.target_names) == 1 else f"forecast_{name}"
            yield shown, over_time(
                data.times("test")[: len(truth)], truth[:, 0, target], value[:, 0, target], name=name,
                band=None if band is None else band[:, 0, target],
            )  # fmt: skip
        if self.horizon > 1:
            yield "error_by_step", error_by_step(abs(truth - value).mean(axis=0), self.target_names)
        import pandas as pd

        own = {name: float(self.trainer.callback_metrics[f"test/{name}"]) for name in ("mae", "rmse", "mase")}
        rows = [{"model": "this network", **own}]
        for each in self.baselines(data):
            rows.append({"model": each.description} | {name: each.metrics.get(f"test/{name}") for name in own})
        yield "baselines", pd.DataFrame(rows)

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        from lantu.tasks.forecast_baselines import fit

        return fit(data)


def _over_windows(net: nn.Module, folds: int) -> nn.Module:
    """A network that takes whole batches: one that is exported does; of the others one for each fold is made."""
    if getattr(net, "takes_batches", False):
        return net
    return WindowNetwork(net) if folds == 1 else FoldNetworks(net, folds)


class MeanError(Mean):
    """A mean of which less is better."""

    higher_is_better = False


class RootMean(MeanError):
    """The square root of the mean of squares."""

    def compute(self) -> Tensor:
        return super().compute().sqrt()
