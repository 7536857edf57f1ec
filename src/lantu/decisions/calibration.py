"""Calibration: probabilities that come true as often as they say, fitted on the validation split alone.

A calibration is fitted after every validation on its outputs, so each checkpoint holds the one that belongs to its
weights. It is applied in the test, in `evaluate`, in `predict` and in a served model.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.decisions.fitted import Fitted
from lantu.errors import UserError
from lantu.notices import warn_once

LEAST = 20
"""Validation examples without which nothing is fitted."""
LEAST_ISOTONIC = 1000
"""Validation examples from which on isotonic regression does not overfit (Niculescu-Mizil and Caruana 2005)."""


class Calibration(Fitted):
    """Changes nothing: the calibration of the network's own probabilities is only measured. Base of the others."""

    name = "measure"

    def fit(self, logits: Tensor, y: Tensor) -> None:
        """Learn from validation logits (N, K) and class numbers (N,).

        Raises:
            UserError: there are too few examples.
        """
        if len(y) < LEAST:
            raise UserError(
                f"`calibration={self.name}` is fitted on the validation split, which has {len(y)} examples, fewer than "
                f"{LEAST}. Take a larger one (`data.split.val=0.2`), or `calibration=none`."
            )
        self.keep(len(y), **self._learned(logits.double().cpu(), y.cpu()))

    def forward(self, logits: Tensor) -> Tensor:
        """Log-probabilities (N, K) of logits (N, K); the network's own before it is fitted."""
        own = logits.float().log_softmax(dim=-1)
        return self._calibrated(own) if self.is_fitted else own

    def _learned(self, logits: Tensor, y: Tensor) -> dict[str, Any]:
        """The fitted values by name."""
        return {}

    def _calibrated(self, logs: Tensor) -> Tensor:
        """Calibrated log-probabilities of the network's own (N, K)."""
        return logs


class Temperature(Calibration):
    """Logits divided by one number, the likeliest on validation (Guo et al. 2017). The order of examples stays."""

    name = "temperature"

    def __init__(self) -> None:
        super().__init__(temperature=1.0)

    def _learned(self, logits: Tensor, y: Tensor) -> dict[str, Any]:
        from scipy.optimize import minimize_scalar

        def loss(log_temperature: float) -> float:
            return float(torch.nn.functional.cross_entropy(logits / np.exp(log_temperature), y))

        found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 1e-6})
        return {"temperature": float(np.exp(found.x))}

    def _calibrated(self, logs: Tensor) -> Tensor:
        return (logs / self.value("temperature", logs)).log_softmax(dim=-1)


class Platt(Calibration):
    """A logistic regression on the log-odds of each class (Platt 1999, with his targets); of several, normalised."""

    name = "platt"

    def __init__(self) -> None:
        super().__init__(slope=[1.0], intercept=[0.0])

    def _learned(self, logits: Tensor, y: Tensor) -> dict[str, Any]:
        odds, classes = log_odds(logits.log_softmax(dim=-1)).numpy(), logits.shape[1]
        fitted = [_platt(odds[:, each], (y == each).numpy()) for each in _modelled(classes)]
        return {"slope": [slope for slope, _ in fitted], "intercept": [intercept for _, intercept in fitted]}

    def _calibrated(self, logs: Tensor) -> Tensor:
        slope, intercept = self.value("slope", logs), self.value("intercept", logs)
        odds = log_odds(logs)[:, -len(slope) :] * slope + intercept
        if odds.shape[1] == 1:
            return torch.nn.functional.logsigmoid(torch.cat([-odds, odds], dim=1))
        return torch.nn.functional.logsigmoid(odds).log_softmax(dim=-1)


class Isotonic(Calibration):
    """A rising step function of each class's probability (Zadrozny and Elkan 2002); of several, normalised.

    The steps are joined by lines. Probabilities stay 1 / (N + 2) away from 0 and 1, since N examples support none that
    is more extreme (Laplace's rule of succession); an event at probability 0 that happens would cost an infinite loss.
    """

    name = "isotonic"

    def __init__(self) -> None:
        super().__init__(lengths=[2], inputs=[0.0, 1.0], outputs=[0.0, 1.0])

    def _learned(self, logits: Tensor, y: Tensor) -> dict[str, Any]:
        from sklearn.isotonic import IsotonicRegression

        if len(y) < LEAST_ISOTONIC:
            warn_once(
                f"`calibration=isotonic` overfits few examples, and validation has {len(y):,}: with fewer than "
                f"{LEAST_ISOTONIC:,} `calibration=platt` or `calibration=temperature` is usually better."
            )
        probabilities = logits.softmax(dim=-1).float().double().numpy()
        least = 1 / (len(y) + 2)
        models = [
            IsotonicRegression(y_min=least, y_max=1 - least).fit(probabilities[:, each], (y == each).numpy())
            for each in _modelled(logits.shape[1])
        ]
        return {
            "lengths": [len(model.X_thresholds_) for model in models],
            "inputs": np.concatenate([model.X_thresholds_ for model in models]),
            "outputs": np.concatenate([model.y_thresholds_ for model in models]),
        }

    def _calibrated(self, logs: Tensor) -> Tensor:
        lengths = self.fitted["lengths"].tolist()
        own = logs.exp()[:, -len(lengths) :]
        pairs = zip(self.value("inputs", logs).split(lengths), self.value("outputs", logs).split(lengths), strict=True)
        found = torch.stack([_interpolated(own[:, k], *pair) for k, pair in enumerate(pairs)], dim=1)
        if found.shape[1] == 1:
            found = torch.cat([1 - found, found], dim=1)
        return (found / found.sum(dim=1, keepdim=True)).log()


def log_odds(logs: Tensor) -> Tensor:
    """Log-odds (N, K) of each class against the others, from log-probabilities (N, K)."""
    classes = logs.shape[1]
    others = [logs[:, [k for k in range(classes) if k != each]].logsumexp(dim=1) for each in range(classes)]
    return logs - torch.stack(others, dim=1)


def _modelled(classes: int) -> list[int]:
    """The classes that have a model of their own: of two the second alone, since the first is what it leaves."""
    return [1] if classes == 2 else list(range(classes))


def _platt(odds: np.ndarray, is_class: np.ndarray) -> tuple[float, float]:
    """Slope and intercept by maximum likelihood, with Platt's targets, which stay off 0 and 1."""
    from scipy.optimize import minimize

    positives, negatives = int(is_class.sum()), int((~is_class).sum())
    targets = np.where(is_class, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * odds + parameters[1]
        error = 1 / (1 + np.exp(-np.clip(z, -500, 500))) - targets
        return float(np.mean(np.logaddexp(0, z) - targets * z)), np.array([np.mean(error * odds), np.mean(error)])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])


def _interpolated(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Linear interpolation (N,), constant beyond the outermost knots (M,), which rise."""
    if len(knots) == 1:
        return values.expand(len(x))
    right = torch.searchsorted(knots, x.contiguous()).clamp(1, len(knots) - 1)
    left = right - 1
    share = ((x - knots[left]) / (knots[right] - knots[left])).clamp(0, 1)
    return values[left] + share * (values[right] - values[left])
