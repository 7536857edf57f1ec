"""Fit the linear model from which a network for tables begins, before it trains."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lantu.checkpoints.embedded_config import Recipe
from lantu.config.build import groups_of
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.models.linear_base import LinearBase
from lantu.tasks import Task
from lantu.tasks.baselines import some_of
from lantu.training.build_task import task_class
from lantu.training.resume import find_checkpoint

MOST_FEATURES = 1000
"""Some 2 s of one core with 20,000 rows, the most; it grows with the square of the features (2,000 took 9 s)."""
PENALTIES = np.logspace(-3, 3, 13)
"""Of ridge regression, of which leaving one row out at a time chooses one."""
CANCELS = 6.0
"""From so much cancellation on, `auto` is true: of 15 tables 13 have .6 to 1.1, flights 4.5, loans_full_schema 12."""
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The inverse penalties of logistic regression, of which the validation split chooses one."""


@dataclass(frozen=True)
class Fitted:
    """A linear model of the features."""

    weight: np.ndarray
    """(outputs, F)"""
    bias: np.ndarray
    """(outputs,)"""
    rows: int
    """Training rows that it was fitted on."""

    def cancellation(self, x: np.ndarray, columns: Sequence[str]) -> float:
        """How much wider the shares of the columns spread than their sum: 1 if they are independent.

        Args:
            x: features (N, F).
            columns: the column (F,) that each feature comes from.
        """
        shares = pd.DataFrame((x * self.weight[0]).T).groupby(list(columns)).sum().to_numpy()  # (columns, N)
        return float(np.sqrt(shares.var(axis=1).sum()) / (shares.sum(axis=0).std() or np.inf))


def fit_linear_base(cfg: DictConfig, data: DataModule) -> Fitted | None:
    """Fit the linear model that the network begins from; None: it begins without one, or is resumed.

    `model.linear_base=auto` becomes true or false in the config: true for a number as the target, where columns cancel
    each other, which gradient descent hardly finds. Elsewhere it gains on some tables what it loses on others
    (docs/tables.md). A resumed run keeps what it began with.

    Args:
        cfg: with the data's facts filled in.
        data: after `setup`.

    Raises:
        UserError: it was asked for where it cannot be fitted.
    """
    asked = cfg.model.get("linear_base")
    if asked not in (True, "auto"):
        return None
    found = find_checkpoint(cfg.resume, Path(cfg.paths.run)) if cfg.resume else None
    if found is not None:
        begun = (Recipe.read(found[1]) or {}).get("model") or {}
        cfg.model.linear_base = asked is True or begun.get("linear_base") is True
        return None
    reason, classifies = _why_not(cfg), task_class(cfg.task).linear_model == "classification"
    if asked is True and reason:
        raise UserError(f"`model.linear_base=true` fits a linear model first, and {reason}. Leave the option out.")
    cfg.model.linear_base = False
    if reason or (asked == "auto" and classifies):
        return None
    x, y = data.classical_features("train", some_of(data, "train"))
    fitted = _logistic_regression(x, y, data) if classifies else _ridge_regression(x.astype(np.float64), y)
    times = fitted.cancellation(x, cfg.spec.feature_columns)
    if asked == "auto" and times < CANCELS:
        return None
    cfg.model.linear_base = True
    if getattr(rank_zero_only, "rank", 0) == 0:
        because = f", since columns cancel each other: their shares spread {times:.0f} times as widely as their sum"
        print(
            f"lantu: the network adds to a linear model, fitted first on {fitted.rows:,} training rows"
            f"{because if asked == 'auto' else ''} (`model.linear_base=false` leaves it out).",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return fitted


def begin_from(task: Task, fitted: Fitted) -> None:
    """Give the network its linear base, and let the rest of it begin with an output of zero."""
    base, output_layer = task.net.linear_base, task.net.output_layer
    assert isinstance(base, LinearBase)
    assert isinstance(output_layer, torch.nn.Module)
    base.set(torch.from_numpy(fitted.weight), torch.from_numpy(fitted.bias))
    for each in output_layer.parameters():
        torch.nn.init.zeros_(each)


def _why_not(cfg: DictConfig) -> str:
    """Why no linear model is fitted first; empty: one is."""
    spec, task = cfg.spec, task_class(cfg.task)
    if "feature_columns" not in spec:
        return "these data are not the columns of a table"
    if task.linear_model is None:
        return f"`{task.__name__}` is neither classification nor regression"
    classifies = task.linear_model == "classification"
    if classifies and 0 in (spec.get("class_counts") or []):
        return "a class has no training rows"
    if spec.get("outputs") != (spec.get("classes") if classifies else 1):
        return f"the network has {spec.get('outputs')} outputs"
    if (cfg.get("privacy") or {}).get("_target_"):
        return "`privacy=dp` would not cover what it learns from the training rows"
    if groups_of(cfg):
        return "`fairness.group` would not apply to it"
    if (cfg.get("init") or {}).get("path") or cfg.get("peft"):
        return "the network begins from other weights (`init`, `peft`)"
    if spec.get("features", 0) > MOST_FEATURES:
        return f"{spec.get('features'):,} features are more than the {MOST_FEATURES:,} that it takes"
    return ""


def _ridge_regression(x: np.ndarray, y: np.ndarray) -> Fitted:
    """Ridge regression of targets (N,) on features (N, F), with the penalty of the least leave-one-out error.

    The numbers of scikit-learn's RidgeCV in a seventh of its time (7,000 rows, 663 features): it decomposes the
    features, and this their products (F, F).
    """
    x_mean, y_mean = x.mean(axis=0), y.mean()
    x, y = x - x_mean, y - y_mean
    values, vectors = np.linalg.eigh(x.T @ x)
    rotated = x @ vectors
    products, squares = rotated.T @ y, rotated**2
    best, weight = np.inf, np.zeros(x.shape[1])
    for penalty in PENALTIES:
        shrunk = 1 / (values.clip(0) + penalty)
        leverage = squares @ shrunk + 1 / len(y)
        error = float(np.mean(((y - rotated @ (shrunk * products)) / (1 - leverage).clip(1e-9)) ** 2))
        if error < best:
            best, weight = error, vectors @ (shrunk * products)
    return Fitted(weight[None], np.atleast_1d(y_mean - x_mean @ weight), len(y))


def _logistic_regression(x: np.ndarray, y: np.ndarray, data: DataModule) -> Fitted:
    """Logistic regression of classes (N,) on features (N, F), with the penalty of the least loss on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    seen, truth = data.classical_features("val", some_of(data, "val"))
    solver = "newton-cholesky" if int(y.max()) < 2 else "lbfgs"  # which finds small differences in a few steps
    fitted = [LogisticRegression(C=strength, solver=solver, max_iter=300).fit(x, y) for strength in STRENGTHS]
    best: Any = min(fitted, key=lambda each: log_loss(truth, each.predict_proba(seen), labels=each.classes_))
    if len(best.classes_) > 2:
        return Fitted(best.coef_, best.intercept_, len(y))
    half = best.coef_ / 2, best.intercept_ / 2  # two logits whose difference is scikit-learn's one
    return Fitted(np.concatenate([-half[0], half[0]]), np.concatenate([-half[1], half[1]]), len(y))
