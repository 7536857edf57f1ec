"""Fit the linear model from which a network for tables begins, before it trains."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from lantu.checkpoints.embedded_config import Recipe
from lantu.config.build import groups_of
from lantu.data import DataModule
from lantu.errors import UserError
from lantu.models.linear_base import LinearBase
from lantu.tasks import Classification, Regression, Task
from lantu.tasks.baselines import MOST_TRAINING
from lantu.training.build_task import task_class
from lantu.training.resume import find_checkpoint

MOST_NUMBERS = 40_000_000
"""Rows times features that it is fitted on at most: 320 MB in double precision, and seconds on one core."""
PENALTIES = np.logspace(-3, 3, 13)
"""Of ridge regression, of which leaving one row out at a time chooses one."""
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The inverse penalties of logistic regression, of which the validation split chooses one."""


def decide_linear_base(cfg: DictConfig, data: DataModule) -> None:
    """Make `model.linear_base=auto` true or false in the config.

    It is true for a number as the target. For classes it gains on some tables what it loses on others (docs/tables.md).
    A resumed run keeps what it began with.

    Args:
        cfg: with the data's facts filled in.
        data: after `setup`.

    Raises:
        UserError: it was asked for where it cannot be fitted.
    """
    asked = cfg.model.get("linear_base")
    if asked not in (True, "auto"):
        return
    found = find_checkpoint(cfg.resume, Path(cfg.paths.run)) if cfg.resume and asked == "auto" else None
    if found is not None:
        begun = (Recipe.read(found[1]) or {}).get("model") or {}
        cfg.model.linear_base = begun.get("linear_base") is True
        return
    reason = _why_not(cfg, data)
    if asked is True and reason:
        raise UserError(f"`model.linear_base=true` fits a linear model first, and {reason}. Leave the option out.")
    cfg.model.linear_base = not reason and (asked is True or task_class(cfg.task) is Regression)


def _why_not(cfg: DictConfig, data: DataModule) -> str:
    """Why no linear model is fitted first; empty: one is."""
    spec, task = cfg.spec, task_class(cfg.task)
    if spec.get("kind") != "table":
        return f"these data are of the kind `{spec.get('kind')}`, not a table"
    if task not in (Classification, Regression):
        return f"`{task.__name__}` is neither Classification nor Regression"
    if task is Classification and 0 in (spec.get("class_counts") or []):
        return "a class has no training rows"
    if spec.get("outputs") != (spec.get("classes") if task is Classification else 1):
        return f"the network has {spec.get('outputs')} outputs"
    if (cfg.get("privacy") or {}).get("_target_"):
        return "`privacy=dp` would not cover what it learns from the training rows"
    if groups_of(cfg):
        return "`fairness.group` would not apply to it"
    if (cfg.get("init") or {}).get("path") or cfg.get("peft"):
        return "the network begins from other weights (`init`, `peft`)"
    if spec.get("features", 0) * 100 > MOST_NUMBERS:
        return f"{spec.get('features'):,} features are too many for it"
    return ""


def fit_linear_base(task: Task, data: DataModule) -> None:
    """Fit the network's linear base on training rows, and let the network begin with an output of zero beside it.

    Nothing is done for a network without one.

    Args:
        data: after `setup`.
    """
    base = getattr(task.net, "linear_base", None)
    if not isinstance(base, LinearBase):
        return
    outputs, features = base.weight.shape
    most = min(MOST_TRAINING, MOST_NUMBERS // features)
    x, y = data.classical_features("train", _some(data, "train", most))
    weight, bias = _regression(x, y) if isinstance(task, Regression) else _classification(x, y, data, most)
    base.set(torch.from_numpy(weight).reshape(outputs, features), torch.from_numpy(bias).reshape(outputs))
    output_layer = task.net.output_layer
    assert isinstance(output_layer, torch.nn.Module)
    for each in output_layer.parameters():
        torch.nn.init.zeros_(each)
    if getattr(rank_zero_only, "rank", 0) == 0:
        print(
            f"lantu: the network adds to a linear model, fitted first on {len(y):,} training rows "
            "(`model.linear_base=false` leaves it out).",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def _regression(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (1, F) and a bias (1,) of ridge regression."""
    from sklearn.linear_model import RidgeCV

    fitted = RidgeCV(PENALTIES).fit(x.astype(np.float64), y)
    return np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)


def _classification(x: np.ndarray, y: np.ndarray, data: DataModule, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C, F) and biases (C,) of logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    seen, truth = data.classical_features("val", _some(data, "val", most))
    solver = "newton-cholesky" if int(y.max()) < 2 else "lbfgs"  # which finds small differences in a few steps
    fitted = [LogisticRegression(C=strength, solver=solver, max_iter=300).fit(x, y) for strength in STRENGTHS]
    best: Any = min(fitted, key=lambda each: log_loss(truth, each.predict_proba(seen), labels=each.classes_))
    if len(best.classes_) > 2:
        return best.coef_, best.intercept_
    half = best.coef_ / 2, best.intercept_ / 2  # two logits whose difference is scikit-learn's one
    return np.concatenate([-half[0], half[0]]), np.concatenate([-half[1], half[1]])


def _some(data: DataModule, split: str, most: int) -> np.ndarray:
    """Indices of all examples of a split, or of `most` that a fixed seed draws."""
    number = len(data.splits[split])  # type: ignore[arg-type]
    return np.arange(number) if number <= most else np.sort(np.random.default_rng(0).permutation(number)[:most])
