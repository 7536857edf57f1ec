"""What a forecast must beat: the last value, the value a season ago, the mean, and a linear autoregression."""

import time
from typing import Any

import numpy as np

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.tasks.baselines import Baseline

MOST_TRAINING = 20_000
"""Training windows of the autoregression."""


def fit(data: DataModule) -> list[Baseline]:
    """Fit on each fold's training windows, and measure on the same windows as the network.

    Raises:
        UserError: the data are no series.
    """
    if data.spec.get("kind") != "series":
        raise UserError("these baselines are for time series.")
    module: Any = data
    season, targets = module.season, len(data.spec["target_names"])
    described = {
        "naive": "the last value",
        **({"seasonal": f"the value {season} steps before"} if 1 < season <= module.context else {}),
        "mean": "the mean of the training part",
        "classical": "ridge regression on the window (autoregression)",
    }
    made = []
    for name, description in described.items():
        started = time.perf_counter()
        fitted = _Ridge(module) if name == "classical" else None
        metrics: dict[str, float] = {}
        for split in ("val", "test"):
            if split not in data.splits:
                continue
            examples = module.splits[split]
            truth = examples.truth()
            if fitted is not None:
                found = fitted.forecast(examples)
            elif name == "mean":
                means = examples.scaling.mean[examples.folds, :targets]
                found = np.repeat(means[:, None], truth.shape[1], axis=1)
            else:
                step = np.arange(truth.shape[1])
                back = np.ones_like(step) + step if name == "naive" else season * (1 + step // season)
                found = examples.values[examples.origins[:, None] + step - back][:, :, :targets]
            error = np.abs(found - truth)
            metrics[f"{split}/mae"] = float(error.mean())
            metrics[f"{split}/rmse"] = float(np.sqrt(np.mean(error**2)))
            metrics[f"{split}/mase"] = float((error / np.array(data.spec["naive_error"])).mean())
        made.append(Baseline(name, description, metrics, time.perf_counter() - started))
    return made


class _Ridge:
    """A ridge regression for each fold, of all steps ahead at once, on the network's own inputs."""

    def __init__(self, data: Any) -> None:
        from sklearn.linear_model import RidgeCV

        examples = data.splits["train"]
        self.models = {}
        for fold in np.unique(examples.folds):
            rows = np.flatnonzero(examples.folds == fold)[-MOST_TRAINING:]
            x, y = _flat(examples, rows)
            self.models[fold] = RidgeCV(np.logspace(-1, 5, 13)).fit(x, y)

    def forecast(self, examples: Any) -> np.ndarray:
        """(N, horizon, targets) in the series' own units."""
        found = np.empty_like(examples.truth())
        for fold, model in self.models.items():
            rows = np.flatnonzero(examples.folds == fold)
            if len(rows):
                batch, _ = examples.__getitems__(rows.tolist())
                location, scale = (batch[name].numpy()[:, None] for name in ("location", "scale"))
                predicted = model.predict(batch["window"].flatten(1).numpy()).reshape(found[rows].shape)
                found[rows] = location + scale * predicted
        return found


def _flat(examples: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = examples.__getitems__(rows.tolist())
    return x["window"].flatten(1).numpy(), y.flatten(1).numpy()
