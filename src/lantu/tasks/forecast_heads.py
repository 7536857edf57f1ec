"""What the numbers that a network gives for a step of a series mean: a value, quantiles, or a distribution.

A head takes raw numbers (..., size) and targets (...), both on the scale of the window.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from torch import Tensor

from lantu.errors import UserError

LEAST_DEGREES = 2.1
"""Degrees of freedom of a Student t: its variance is finite above 2."""


POINT_LOSSES: dict[str, Callable[..., Tensor]] = {"mae": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}


class Head:
    """Base class: one value of a point forecast; no quantiles, no density."""

    size = 1
    """Raw numbers of each forecast value."""
    has_quantiles = False
    has_tail_mean = False

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        """The loss of each value (...)."""
        raise NotImplementedError

    def point(self, raw: Tensor) -> Tensor:
        """The forecast value (...)."""
        return raw[..., 0]

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The quantiles (..., levels)."""
        raise NotImplementedError

    def tail_means(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        """The mean below each quantile (..., levels): the expected shortfall of returns."""
        raise NotImplementedError

    def crps(self, raw: Tensor, y: Tensor) -> Tensor | None:
        """The continuous ranked probability score (...) in closed form; None where there is none."""
        return None


class Point(Head):
    """A value, by absolute, squared or Huber error."""

    def __init__(self, loss: str) -> None:
        if loss not in POINT_LOSSES:
            raise UserError(f"`task.loss={loss}`: the losses of a point forecast are {', '.join(POINT_LOSSES)}.")
        self._loss = POINT_LOSSES[loss]

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        return self._loss(raw[..., 0], y, reduction="none")


class Quantiles(Head):
    """Quantiles at some levels, none of which crosses another, by the mean pinball loss (Koenker and Bassett 1978)."""

    has_quantiles = True

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = list(levels)
        self.size = len(self.levels)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, device=raw.device, dtype=raw.dtype)
        below = y[..., None] - self._ordered(raw)
        return torch.maximum(levels * below, (levels - 1) * below).mean(-1)

    def point(self, raw: Tensor) -> Tensor:
        """The quantile whose level is nearest to one half."""
        return self._ordered(raw)[..., int(np.abs(np.array(self.levels) - 0.5).argmin())]

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        unknown = [each for each in levels if each not in self.levels]
        if unknown:
            raise UserError(f"`task.levels` must hold {unknown[0]:g}, which is asked of the forecast.")
        return self._ordered(raw)[..., [self.levels.index(each) for each in levels]]

    def _ordered(self, raw: Tensor) -> Tensor:
        """Rising quantiles (..., levels): the middle one, and steps to its neighbours."""
        middle = self.size // 2
        steps = 0.5 * F.softplus(raw)
        centre = raw[..., middle : middle + 1]
        lower = centre - steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
        return torch.cat([lower, centre, centre + steps[..., middle + 1 :].cumsum(-1)], dim=-1)


class VarEs(Head):
    """Quantiles and the means below them, by the joint score FZ0 (Patton, Ziegel and Chen 2019); both are negative."""

    has_quantiles = True
    has_tail_mean = True

    def __init__(self, levels: Sequence[float]) -> None:
        if not all(level < 0.5 for level in levels):
            raise UserError(f"`task.kind=var_es` takes levels below 0.5, not `task.levels={list(levels)}`.")
        self.levels = sorted(levels)
        self.size = 2 * len(self.levels)

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        var, es = self._both(raw)
        levels = torch.tensor(self.levels, device=raw.device, dtype=raw.dtype)
        short = F.relu(var - y[..., None])
        return (-short / (levels * es) + var / es + torch.log(-es) - 1).mean(-1)

    def point(self, raw: Tensor) -> Tensor:
        """The quantile of the highest level; such a network says nothing of the middle."""
        return self._both(raw)[0][..., -1]

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        return self._both(raw)[0][..., self._places(levels)]

    def tail_means(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        return self._both(raw)[1][..., self._places(levels)]

    def _both(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Quantiles that rise with the level, and means below them (..., levels)."""
        number = len(self.levels)
        start = torch.tensor([-float(scipy.stats.norm.ppf(level)) for level in self.levels], device=raw.device)
        gaps = torch.cat([(start[:-1] - start[1:]), start[-1:]])
        size = torch.exp(raw[..., :number].clamp(-4, 4)) * gaps  # the distance to the next level's quantile
        var = -size.flip(-1).cumsum(-1).flip(-1)
        return var, var * (1 + 0.25 * torch.exp(raw[..., number:].clamp(-4, 4)))

    def _places(self, levels: Sequence[float]) -> list[int]:
        unknown = [each for each in levels if each not in self.levels]
        if unknown:
            raise UserError(f"`task.levels` must hold {unknown[0]:g}, which is asked of the forecast.")
        return [self.levels.index(each) for each in levels]


class SkewT(Head):
    """Hansen's skewed Student t (1994); `skewed=False` is Student's t with unit variance. By negative log likelihood.

    Raw numbers are the location, the logarithm of the scale, and those of the tail and the skewness.
    """

    has_quantiles = True
    has_tail_mean = True

    def __init__(self, *, skewed: bool) -> None:
        self.skewed = skewed
        self.size = 4 if skewed else 3

    def loss(self, raw: Tensor, y: Tensor) -> Tensor:
        location, log_scale, degrees, skew = self._parameters(raw)
        log_c = torch.lgamma((degrees + 1) / 2) - torch.lgamma(degrees / 2) - 0.5 * torch.log(math.pi * (degrees - 2))
        a = 4 * skew * log_c.exp() * (degrees - 2) / (degrees - 1)
        b = torch.sqrt(1 + 3 * skew**2 - a**2)
        z = (y - location) * torch.exp(-log_scale)
        side = 1 + torch.where(b * z + a < 0, -skew, skew)
        kernel = torch.log1p(((b * z + a) / side) ** 2 / (degrees - 2))
        return log_scale - torch.log(b) - log_c + (degrees + 1) / 2 * kernel

    def quantiles(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        location, scale, degrees, skew, a, b = self._on_host(raw)
        found = []
        for level in levels:
            left = level < (1 - skew) / 2
            t = scipy.stats.t.ppf(
                np.where(left, level / (1 - skew), 0.5 + (level - (1 - skew) / 2) / (1 + skew)), degrees
            )
            z = (np.where(left, 1 - skew, 1 + skew) * np.sqrt((degrees - 2) / degrees) * t - a) / b
            found.append(location + scale * z)
        return torch.from_numpy(np.stack(found, -1)).to(raw.device, torch.float32)

    def tail_means(self, raw: Tensor, levels: Sequence[float]) -> Tensor:
        location, scale, degrees, skew, a, b = self._on_host(raw)
        found = []
        for level in levels:
            if np.any(level >= (1 - skew) / 2):
                raise UserError(f"the mean below the quantile at {level:g} is known left of the mode alone.")
            t = scipy.stats.t.ppf(level / (1 - skew), degrees)
            below = -scipy.stats.t.pdf(t, degrees) * (degrees + t**2) / (degrees - 1)  # E[T; T < t]
            z = (1 - skew) ** 2 * np.sqrt((degrees - 2) / degrees) / b * below / level - a / b
            found.append(location + scale * z)
        return torch.from_numpy(np.stack(found, -1)).to(raw.device, torch.float32)

    def crps(self, raw: Tensor, y: Tensor) -> Tensor | None:
        """Of Student's t (Jordan, Krüger and Lerch 2019); None with skewness."""
        if self.skewed:
            return None
        location, scale, degrees, *_ = self._on_host(raw)
        scale = scale * np.sqrt((degrees - 2) / degrees)
        z = (y.double().cpu().numpy() - location) / scale
        beta = scipy.special.beta(0.5, degrees - 0.5) / scipy.special.beta(0.5, degrees / 2) ** 2
        score = (
            z * (2 * scipy.stats.t.cdf(z, degrees) - 1)
            + 2 * scipy.stats.t.pdf(z, degrees) * (degrees + z**2) / (degrees - 1)
            - 2 * np.sqrt(degrees) / (degrees - 1) * beta
        )
        return torch.from_numpy(np.asarray(scale * score)).to(raw.device, torch.float32)

    def _parameters(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        raw = raw.float()
        degrees = LEAST_DEGREES + F.softplus(raw[..., 2] + 5.0)  # at the start about 7
        skew = 0.9 * torch.tanh(raw[..., 3]) if self.skewed else torch.zeros_like(degrees)
        return raw[..., 0], raw[..., 1].clamp(-8, 8), degrees, skew

    def _on_host(self, raw: Tensor) -> tuple[np.ndarray, ...]:
        location, log_scale, degrees, skew = (each.detach().double().cpu().numpy() for each in self._parameters(raw))
        log_c = scipy.special.gammaln((degrees + 1) / 2) - scipy.special.gammaln(degrees / 2)
        a = 4 * skew * np.exp(log_c) / np.sqrt(np.pi * (degrees - 2)) * (degrees - 2) / (degrees - 1)
        return location, np.exp(log_scale), degrees, skew, a, np.sqrt(1 + 3 * skew**2 - a**2)


KINDS = ("point", "quantile", "student_t", "skewed_t", "var_es")


def head_of(kind: str, *, levels: Sequence[float], loss: str) -> Head:
    """The head that `task.kind` names.

    Raises:
        UserError: there is none of that name, or it does not take the levels.
    """
    if not levels or not all(0 < level < 1 for level in levels) or sorted(set(levels)) != list(levels):
        raise UserError(
            f"`task.levels={list(levels)}`: levels lie between 0 and 1 and rise, such as [0.05, 0.5, 0.95]."
        )
    if kind == "point":
        return Point(loss)
    if kind == "quantile":
        return Quantiles(levels)
    if kind == "var_es":
        return VarEs(levels)
    if kind in ("student_t", "skewed_t"):
        return SkewT(skewed=kind == "skewed_t")
    raise UserError(f"`task.kind={kind}`: a forecast is one of {', '.join(KINDS)}.")
