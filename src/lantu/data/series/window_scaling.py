"""The scale of each window, which its own past gives. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lantu.data.series import gjr

SCALES = ("train", "window", "volatility", "gjr")


@dataclass(frozen=True)
class Scaling:
    """How windows are scaled.

    Args:
        how: train (mean and deviation of the training part), window (mean and deviation of the window itself; Kim et
            al. 2022), volatility (zero, and the window's exponentially weighted root mean square) or gjr (mean of the
            training part, and the deviation that GJR-GARCH, fitted to the training part, gives the next step).
        decay: of the weights of `volatility`, for each step back.
        targets: the first so many columns are the targets; the others are always on the scale of the training part.
        mean, std: of each fold's training part (folds, columns).
        log_mean, log_std: of the logarithm of a window's scale over `std`, for targets (folds, targets).
        gjr: coefficients of GJR-GARCH (folds, targets, 4), if that is how.
    """

    how: str
    decay: float
    targets: int
    mean: np.ndarray
    std: np.ndarray
    log_mean: np.ndarray
    log_std: np.ndarray
    gjr: np.ndarray | None = None

    @property
    def variables(self) -> int:
        """Numbers of each step that a network sees: the columns, and each target's scale where windows differ in it."""
        return self.mean.shape[1] + (0 if self.how == "train" else self.targets)

    def state(self) -> dict[str, list[Any]]:
        names = ["mean", "std", "log_mean", "log_std", *["gjr"] * (self.gjr is not None)]
        return {name: getattr(self, name).tolist() for name in names}

    @classmethod
    def restored(cls, state: Mapping[str, Any], *, how: str, decay: float, targets: int) -> "Scaling":
        return cls(how, decay, targets, **{name: np.array(state[name], dtype=float) for name in state})

    @classmethod
    def learned(
        cls, values: np.ndarray, origins: Sequence[np.ndarray], *, context: int, how: str, decay: float, targets: int,
        rows: Sequence[tuple[int, int]],
    ) -> "Scaling":  # fmt: skip
        """Statistics of each fold's training part alone.

        Args:
            values: (M, columns).
            origins: of each fold's training windows.
            context: steps of a window.
            rows: the steps that each fold trains on, as half-open ranges.
        """
        parts = [values[begin:end] for begin, end in rows]
        mean = np.array([np.nanmean(part, axis=0) for part in parts])
        std = np.array([np.nanstd(part, axis=0) for part in parts])
        std = np.where(std > 0, std, 1.0)
        shape = (len(parts), targets)
        scaling = cls(how, decay, targets, mean, std, np.zeros(shape), np.ones(shape), _fitted(parts, how, targets))
        if how == "train":
            return scaling
        logs = [
            scaling._log_scale(scaling.of(windows_of(values, each, context), np.full(len(each), fold))[1], fold)
            for fold, each in enumerate(origins)
        ]
        deviation = np.array([each.std(axis=0) for each in logs])
        return cls(
            how, decay, targets, mean, std, np.array([each.mean(axis=0) for each in logs]),
            np.where(deviation > 1e-9, deviation, 1.0), scaling.gjr,
        )  # fmt: skip

    def of(self, windows: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Location and scale (N, targets) of windows (N, L, columns)."""
        mean, std = self.mean[folds, : self.targets], self.std[folds, : self.targets]
        shown = windows[:, :, : self.targets]
        if self.how == "train":
            return mean, std
        if self.how == "window":
            return shown.mean(axis=1), np.maximum(shown.std(axis=1), 1e-3 * std)
        if self.gjr is not None:
            variance = gjr.variance_after(shown - mean[:, None], self.gjr[folds])
            return mean, np.maximum(np.sqrt(variance), 1e-3 * std)
        weights = self.decay ** np.arange(windows.shape[1])[::-1]
        square = np.einsum("nlc,l->nc", shown**2, weights / weights.sum())
        return np.zeros_like(mean), np.maximum(np.sqrt(square), 1e-3 * std)

    def applied(self, windows: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a network sees (N, L, variables), with the location and scale (N, targets) of what it forecasts."""
        location, scale = self.of(windows, folds)
        targets = (windows[:, :, : self.targets] - location[:, None]) / scale[:, None]
        mean, std = self.mean[folds, None, self.targets :], self.std[folds, None, self.targets :]
        parts = [targets, (windows[:, :, self.targets :] - mean) / std]
        if self.how != "train":
            level = (self._log_scale(scale, folds) - self.log_mean[folds]) / self.log_std[folds]
            parts.append(np.repeat(level[:, None], windows.shape[1], axis=1))
        return np.concatenate(parts, axis=2), location, scale

    def _log_scale(self, scale: np.ndarray, folds: Any) -> np.ndarray:
        return np.log(scale / self.std[folds, : self.targets])


def windows_of(values: np.ndarray, origins: np.ndarray, context: int) -> np.ndarray:
    """The `context` steps before each origin (N, context, columns)."""
    return values[origins[:, None] + np.arange(-context, 0)]


def _fitted(parts: Sequence[np.ndarray], how: str, targets: int) -> np.ndarray | None:
    """GJR-GARCH of each fold's training part (folds, targets, 4)."""
    if how != "gjr":
        return None
    series = [[part[~np.isnan(part[:, target]), target] for target in range(targets)] for part in parts]
    return np.array([[gjr.coefficients(gjr.fit(each, asked="data.scale=gjr")) for each in fold] for fold in series])
