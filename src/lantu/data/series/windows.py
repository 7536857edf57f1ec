"""Windows of series that end before what is forecast, each on a scale that its own past gives."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lantu.data.series.window_scaling import Scaling, windows_of


class SeriesWindows(Dataset):
    """Forecasts to be made: the steps before each, and what followed.

    Batches are x = {"window": float32 (N, context, variables), "location", "scale": (N, targets), "fold": (N,)} and
    y float32 (N, horizon, targets), on the scale of the window: (value - location) / scale.

    Args:
        values: the series (M, columns), targets first.
        origins: the first step that each example forecasts (N,).
        folds: the number of each example's fold (N,).
        times: seconds since 1970 of each step (M,).
        horizon: steps to forecast; 0: nothing is known of them, and batches are x alone.
    """

    def __init__(
        self,
        values: np.ndarray,
        origins: np.ndarray,
        folds: np.ndarray,
        *,
        context: int,
        horizon: int,
        scaling: Scaling,
        times: np.ndarray,
    ) -> None:
        self.values, self.origins, self.folds = values, origins, folds
        self.context, self.horizon, self.scaling = context, horizon, scaling
        self.times = times
        self.answered: np.ndarray | None = None
        """The row of the input that each example's forecast is written to (N,); -1: none."""
        self.rows = 0
        """Rows of the input."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitems__(self, indices: list[int]) -> Any:
        origins, folds = self.origins[indices], self.folds[indices]
        seen, location, scale = self.scaling.applied(windows_of(self.values, origins, self.context), folds)
        x = {
            "window": _float(seen), "location": _float(location), "scale": _float(scale),
            "fold": torch.from_numpy(folds.astype(np.int64)),
        }  # fmt: skip
        if not self.horizon:
            return x
        return x, _float((self.truth(indices) - location[:, None]) / scale[:, None])

    def __getitem__(self, index: int) -> Any:
        batch = self.__getitems__([index])
        if not self.horizon:
            return {name: part[0] for name, part in batch.items()}
        return {name: part[0] for name, part in batch[0].items()}, batch[1][0]

    def truth(self, indices: Any = slice(None)) -> np.ndarray:
        """What is to be forecast (N, horizon, targets), in the series' own units."""
        places = self.origins[indices][:, None] + np.arange(self.horizon)
        return self.values[places][:, :, : self.scaling.targets]


def complete_origins(values: np.ndarray, begin: int, end: int, *, context: int, horizon: int) -> np.ndarray:
    """Return the steps (N,) in [begin, end) from which a window can forecast: no value of it or after it is missing.

    Args:
        values: the series (M, columns).
        context: steps before an origin that are seen.
        horizon: steps from an origin on that are forecast; they lie before `end`.
    """
    missing = np.concatenate([[0], np.cumsum(np.isnan(values).any(axis=1))])
    origins = np.arange(max(begin, context), end - horizon + 1)
    return origins[missing[origins + horizon] == missing[origins - context]]


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
