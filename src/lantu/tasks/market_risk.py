"""Value at risk and expected shortfall of the next step's return, with the tests that say whether to believe them."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lantu.errors import UserError
from lantu.extras import require
from lantu.tasks.forecasting import Forecasting, MeanError
from lantu.tasks.outputs import Outputs
from lantu.tasks.risk import backtests
from lantu.tasks.risk.backtest_table import Forecast, measured, risk_table
from lantu.tasks.risk.volatility import CLASSICAL
from lantu.tasks.running_mean import Mean

if TYPE_CHECKING:
    from lantu.data.data_module import DataModule
    from lantu.tasks.baselines import Baseline


class MarketRisk(Forecasting):
    """A forecast of returns (`data.transform=log_return`), one step ahead, that is judged by its lower tail.

    After the test, one table holds the backtests of the network and of the classical models on the same days.

    Args:
        risk_levels: probabilities that the return falls below the value at risk.
        kind: skewed_t, student_t or var_es; of Forecasting. With var_es, `levels` must hold the risk levels.
        classical: models of `lantu.tasks.risk.volatility` to compare with.
        classical_window, classical_refit: returns that a GARCH fit sees, and days between two fits.
        options: of `Forecasting`.

    Raises:
        UserError: more than one step is forecast, or the kind of forecast knows no expected shortfall.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        horizon: int,
        kind: str = "skewed_t",
        risk_levels: Sequence[float] = (0.01, 0.05),
        classical: Sequence[str] = tuple(CLASSICAL),
        classical_window: int = 1000,
        classical_refit: int = 50,
        **options: Any,
    ) -> None:
        self.risk_levels = tuple(float(each) for each in risk_levels)
        if horizon != 1:
            raise UserError(f"`data.horizon={horizon}`: market risk is forecast one step ahead. Use `data.horizon=1`.")
        if unknown := [each for each in classical if each not in CLASSICAL]:
            raise UserError(f"`task.classical`: there is no {unknown[0]}. There are: {', '.join(CLASSICAL)}.")
        super().__init__(net, horizon=horizon, kind=kind, **options)
        if not self.head.has_tail_mean:
            raise UserError(
                f"`task.kind={kind}` knows no expected shortfall. Use `task.kind=skewed_t`, student_t or var_es."
            )
        self.head.quantiles(torch.zeros(1, self.head.size), self.risk_levels)  # refuses levels that it does not know
        self.classical = tuple(classical)
        self.classical_options = {"window": classical_window, "refit_every": classical_refit}

    def check_trainer(self, trainer: Trainer) -> None:
        super().check_trainer(trainer)
        if any(each.startswith(("garch", "gjr")) for each in self.classical):
            require("arch", "task=market_risk", "finance")

    def on_fit_start(self) -> None:
        """Refuse prices: they are all positive, and so is every quantile of them."""
        super().on_fit_start()
        data: Any = self.trainer.datamodule
        for target, name in enumerate(self.target_names):
            if not (data.series.values[:, target] < 0).any():
                raise UserError(
                    f"`task=market_risk` forecasts returns, and {name} never falls below 0. Prices become returns by "
                    "`data.transform=log_return`."
                )

    # Metrics

    def metric_set(self, stage: str) -> dict[str, Metric]:
        found: dict[str, Metric] = dict(super().metric_set(stage))
        for level in self.risk_levels:
            found |= {f"pinball_{100 * level:g}": MeanError(), f"fz0_{100 * level:g}": MeanError()}
        if stage == "test":
            found["risk"] = RiskTests(self.target_names, self.risk_levels)
        return found

    def observe(self, metrics: MetricCollection, output: dict[str, Tensor], y: Tensor) -> None:
        super().observe(metrics, output, y)
        truth = self._in_units(y, output)[:, 0]  # (N, targets)
        var, es = (each[:, 0] for each in self._tail(output))  # (N, targets, levels)
        for place, level in enumerate(self.risk_levels):
            below = truth - var[..., place]
            loss = torch.maximum(level * below, (level - 1) * below)
            score = fz0(truth, var[..., place], es[..., place], level=level)
            for name, value in ((f"pinball_{100 * level:g}", loss), (f"fz0_{100 * level:g}", score)):
                metric = metrics[name]
                assert isinstance(metric, Mean)
                metric.add(value.mean(), value.numel())
        if "risk" in metrics.keys(keep_base=True):
            metrics["risk"].update(truth, var, es)

    def _tail(self, output: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """VaR and ES (N, 1, targets, risk levels), as returns."""
        raw = output["raw"]
        var, es = self.head.quantiles(raw, self.risk_levels), self.head.tail_means(raw, self.risk_levels)
        return self._in_units(var, output), self._in_units(es, output)

    # Predictions

    def predictions(self, output: dict[str, Tensor]) -> Outputs:
        """As of `Forecasting`, and "var" and "es" (N, 1, targets, risk levels)."""
        var, es = self._tail(output)
        return {**super().predictions(output), "var": var, "es": es}

    def _by_name(self, outputs: Outputs) -> dict[str, Tensor]:
        found = super()._by_name(outputs)
        for place, level in enumerate(self.risk_levels):
            for name in ("var", "es"):
                found[f"{name}_{level:g}"] = outputs[name][..., place]
        return found

    def _further(self) -> list[str]:
        return [f"{name}_{level:g}" for level in self.risk_levels for name in ("var", "es")]

    # What shows a run

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: returns, VaR and violations of each series, and the backtests beside the classical models'."""
        if stage != "test" or not outputs:
            return
        from lantu.tasks.risk.risk_figures import violations_over_time

        data: Any = self.trainer.datamodule
        raw = outputs["output"]
        times = data.times("test")[: len(outputs["y"])]  # `trainer.limit_test_batches` measures the first of them
        found = self.predictions(raw)
        truth = self._in_units(outputs["y"], raw)[:, 0].double().numpy()
        var, es = (found[name][:, 0].double().numpy() for name in ("var", "es"))
        rows = []
        for target, name in enumerate(self.target_names):
            suffix = f"_{name}" if len(self.target_names) > 1 else ""
            yield f"var{suffix}", violations_over_time(times, truth[:, target], var[:, target], self.risk_levels, name)
            own = Forecast("this network", var[:, target], es[:, target])
            others = [forecast for forecast, _ in self._classical(data, target)]
            rows += risk_table(name, truth[:, target], [own, *others], levels=self.risk_levels)
        import pandas as pd

        yield "risk_tests", pd.DataFrame(rows)

    def _classical(self, data: Any, target: int, split: str = "test") -> Iterator[tuple[Forecast, str]]:
        returns = data.series.values[:, target]
        known = ~np.isnan(returns)
        days = (np.cumsum(known) - 1)[data.splits[split].origins]
        for name in self.classical:
            description, forecast = CLASSICAL[name]
            options = self.classical_options if name.startswith(("garch", "gjr")) else {}
            made = forecast(returns[known], days, levels=self.risk_levels, **options)
            if made.failed_fits:
                warnings.warn(f"{description}: {made.failed_fits} fits did not converge", stacklevel=2)
            yield Forecast(description, made.var, made.es), name

    @classmethod
    def baselines(cls, data: "DataModule") -> "list[Baseline]":
        from lantu.tasks.risk.backtest_table import classical_baselines

        return classical_baselines(data)

    @classmethod
    def baselines_for(cls, data: "DataModule", options: Mapping[str, Any]) -> "list[Baseline]":
        """The classical models that the options name, at the risk levels of the network."""
        from lantu.tasks.risk.backtest_table import classical_baselines

        given = {
            "levels": tuple(map(float, options.get("risk_levels", (0.01, 0.05)))),
            "models": tuple(options.get("classical", CLASSICAL)),
            "window": options.get("classical_window", 1000),
            "refit_every": options.get("classical_refit", 50),
        }
        return classical_baselines(data, **given)


class RiskTests(Metric):
    """The backtests of a whole split, by name: shares of violations, and the p values of the tests.

    Args:
        names: of the series; with several, each is in the names of its figures.
        levels: of the VaR.
    """

    full_state_update = False
    returns: list[Tensor]
    var: list[Tensor]
    es: list[Tensor]

    def __init__(self, names: Sequence[str], levels: Sequence[float]) -> None:
        super().__init__()
        self.names, self.levels = list(names), tuple(levels)
        for state in ("returns", "var", "es"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, returns: Tensor, var: Tensor, es: Tensor) -> None:
        """Add days: returns (N, series), VaR and ES (N, series, levels)."""
        self.returns.append(returns.detach().cpu())
        self.var.append(var.detach().cpu())
        self.es.append(es.detach().cpu())

    def compute(self) -> dict[str, Tensor]:
        """Each figure as a scalar; NaN where the split cannot tell it."""
        returns, var, es = (
            (torch.cat(each) if isinstance(each, list) else each).double().cpu().numpy()
            for each in (self.returns, self.var, self.es)
        )
        found = {}
        for series, name in enumerate(self.names):
            suffix = f"_{name}" if len(self.names) > 1 else ""
            for place, level in enumerate(self.levels):
                values = measured(returns[:, series], var[:, series, place], es[:, series, place], level=level)
                for key in ("violations", "kupiec_p", "christoffersen_p", "conditional_p", "dq_p", "es_p"):
                    # best at the level: a name with "violations" would say that less is better
                    name_of = "exceedance_rate" if key == "violations" else key
                    found[f"{name_of}_{100 * level:g}{suffix}"] = torch.tensor(values[key], dtype=torch.float32)
        return found


def fz0(returns: Tensor, var: Tensor, es: Tensor, *, level: float) -> Tensor:
    """The joint score of VaR and ES of each day, as `backtests.fz0` has it; NaN where an ES is not negative."""
    score = backtests.fz0(*(each.detach().double().cpu().numpy() for each in (returns, var, es)), level=level)
    return torch.from_numpy(score).to(returns.device, torch.float32)
