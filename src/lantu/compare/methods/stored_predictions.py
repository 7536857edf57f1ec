"""What stored predictions say: the uncertainty from the finite set of examples, and where two models disagree.

Each run stores what it answered for each example of its validation and test split. A metric that is a mean over
examples has a value for each of them; others are linearised (r2, rmse) or written as such a mean (the area under the
ROC curve by DeLong's components). The standard error of a mean over n examples is that of these values; of a
difference between two configurations, that of their differences on the same examples, where most of the examples' luck
cancels (the paired counterpart of McNemar's test). Values are averaged over a configuration's seeds first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from lantu.decisions.scores import Reliability, reliability, wilson

FEWEST_EXAMPLES = 8
"""Examples below which their part of the uncertainty is not estimated."""
NUMBERED_TWICE = "the stored predictions number some examples twice"
OTHER_EXAMPLES = "the runs were measured on different examples"
CONTRADICTIONS = (NUMBERED_TWICE, OTHER_EXAMPLES)
"""Reasons against stored predictions that say that something is wrong with the runs, too."""
SHOWN_ROWS = 20
"""Rows on which two models disagree that are listed."""


def values(predictions: pd.DataFrame, metric: str) -> np.ndarray | None:
    """A value per example whose mean is the metric, or follows it closely; None where that is not known.

    Args:
        predictions: target and prediction, loss, and of two classes `score`, by example.
        metric: its name, such as val/accuracy.
    """
    name = metric.rpartition("/")[2].removesuffix("_best")
    if name == "loss" and "loss" in predictions:
        return predictions["loss"].to_numpy(dtype=float)
    if not {"target", "prediction"} <= {*predictions}:
        return None
    target, prediction = predictions["target"], predictions["prediction"]
    if name == "accuracy":
        return (target == prediction).to_numpy(dtype=float)
    if name == "error_rate":
        return (target != prediction).to_numpy(dtype=float)
    if name == "auroc" and "score" in predictions:
        return _auroc_components(predictions)
    if not (pd.api.types.is_numeric_dtype(target) and pd.api.types.is_numeric_dtype(prediction)):
        return None
    error = (prediction - target).to_numpy(dtype=float)
    square = float((error**2).mean())
    if name == "mae":
        return np.abs(error)
    if name == "mse":
        return error**2
    if name == "rmse" and square > 0:
        return np.sqrt(square) + (error**2 - square) / (2 * np.sqrt(square))
    variance = float(target.var(ddof=0))
    if name == "r2" and variance > 0:
        left = square / variance
        return 1 - left - (error**2 - left * (target - target.mean()).to_numpy(dtype=float) ** 2) / variance
    return None


def is_positive(predictions: pd.DataFrame) -> np.ndarray:
    """Whether each target (N,) is the class whose probability is `score`.

    The class is not stored. It is the one that was predicted where the score is above one half, or, where no score is,
    the one that was not predicted.
    """
    target, prediction, score = predictions["target"], predictions["prediction"], predictions["score"]
    if (above := prediction[score > 0.5]).size:
        return (target == above.iloc[0]).to_numpy()
    return (target != prediction.iloc[0]).to_numpy()


def _auroc_components(predictions: pd.DataFrame) -> np.ndarray | None:
    """Values whose mean is the area under the ROC curve, and whose standard error is DeLong's (1988), nearly."""
    score, positive = predictions["score"].to_numpy(dtype=float), is_positive(predictions)
    ranks_all = stats.rankdata(score)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return None
    components = np.empty(len(score))
    components[positive] = (ranks_all[positive] - stats.rankdata(score[positive])) / m
    components[~positive] = 1 - (ranks_all[~positive] - stats.rankdata(score[~positive])) / n
    area = float(components[positive].mean())
    return area + np.where(positive, len(score) / n, len(score) / m) * (components - area)


@dataclass(frozen=True)
class StoredExamples:
    """What the stored predictions say of a metric, as `Examples` of the statistics."""

    metric: str
    by_group: Mapping[str, pd.Series]
    """By group: a value per example, averaged over seeds, indexed by the example's number."""
    runs: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)
    """By group and run id: its predictions."""

    @property
    def number(self) -> int:
        """How many examples there are."""
        return max((len(each) for each in self.by_group.values()), default=0)

    def error(self, group: str) -> float:
        """See `Examples.error`."""
        found = self.by_group.get(group)
        return _standard_error(found.to_numpy()) if found is not None else float("nan")

    def error_between(self, group: str, other: str) -> float:
        """See `Examples.error_between`."""
        one, two = self.by_group.get(group), self.by_group.get(other)
        if one is None or two is None:
            return float("nan")
        return _standard_error((one - two).dropna().to_numpy())

    def interval(self, group: str, level: float = 0.95) -> tuple[float, float]:
        """The interval of a group's metric over examples alone: Wilson's for shares, else normal."""
        found = self.by_group.get(group)
        if found is None or len(found) < FEWEST_EXAMPLES:
            return (float("nan"), float("nan"))
        mean, z = float(found.mean()), float(stats.norm.ppf(0.5 + level / 2))
        if self.metric.rpartition("/")[2] in ("accuracy", "error_rate"):
            low, high = wilson(np.array([found.sum()]), np.array([len(found)]), z)
            return (float(low[0]), float(high[0]))
        half = z * self.error(group)
        return (mean - half, mean + half)


def _standard_error(found: np.ndarray) -> float:
    return float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) >= FEWEST_EXAMPLES else float("nan")


def stored_examples(
    predictions: Mapping[str, Mapping[str, pd.DataFrame]], metric: str
) -> tuple[StoredExamples | None, str]:
    """Put stored predictions together by group, and say why not where they cannot be.

    Args:
        predictions: by group and run id: rows numbered by `row`.
        metric: the metric that decides.

    Returns:
        The examples, and a sentence: empty where all is well.
    """
    by_group: dict[str, pd.Series] = {}
    targets: pd.Series | None = None
    for label, runs in predictions.items():
        columns = []
        for frame in runs.values():
            indexed = frame.set_index("row") if "row" in frame else frame
            if not indexed.index.is_unique:
                return None, NUMBERED_TWICE
            truth = indexed.get("target")
            if truth is not None:
                common = truth.index if targets is None else truth.index.intersection(targets.index)
                if targets is not None and not (truth.loc[common] == targets.loc[common]).all():
                    return None, OTHER_EXAMPLES
                targets = truth if targets is None else targets
            found = values(indexed, metric)
            if found is None:
                return None, f"{metric} has no value for each example"
            columns.append(pd.Series(found, index=indexed.index))
        if columns:
            by_group[label] = pd.concat(columns, axis=1).mean(axis=1)
    if not by_group:
        return None, "the runs stored no predictions"
    return StoredExamples(metric, by_group, predictions), ""


@dataclass(frozen=True)
class Pair:
    """Two models on the same examples."""

    first: str
    second: str
    number: int
    """Examples that both answered."""
    only_first: int | None
    """Of them, right in the first alone; None where there is no right or wrong."""
    only_second: int | None
    mcnemar: float | None
    """The exact p-value of McNemar's test."""
    difference: float
    """Of the metric, first minus second, on these examples."""
    low: float
    """Its paired bootstrap interval."""
    high: float
    rows: pd.DataFrame
    """Where they disagree: row, target, and the answers of both; the most certain first."""


def compare_pair(
    first: tuple[str, pd.DataFrame], second: tuple[str, pd.DataFrame], metric: str, *, level: float = 0.95
) -> Pair | None:
    """Compare two runs example by example; None where they have too few in common."""
    one, two = (frame.set_index("row") if "row" in frame else frame for _, frame in (first, second))
    common = one.index.intersection(two.index)
    one, two = one.loc[common], two.loc[common]
    a, b = values(one, metric), values(two, metric)
    if a is None or b is None or len(common) < FEWEST_EXAMPLES:
        return None
    random = np.random.default_rng(0)
    gaps = a - b
    means = gaps[random.integers(0, len(gaps), (2000, len(gaps)))].mean(axis=1) if len(gaps) <= 20_000 else None
    half = float(stats.norm.ppf(0.5 + level / 2)) * _standard_error(gaps)
    low, high = (
        np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
        if means is not None
        else (gaps.mean() - half, gaps.mean() + half)
    )
    only_first = only_second = p = None
    categorical = "target" in one and "prediction" in one and not pd.api.types.is_float_dtype(one["target"])
    if categorical:
        right, also = one["prediction"] == one["target"], two["prediction"] == two["target"]
        only_first, only_second = int((right & ~also).sum()), int((~right & also).sum())
        p = float(stats.binomtest(only_first, only_first + only_second).pvalue) if only_first + only_second else 1.0
        differ = one["prediction"] != two["prediction"]
        sureness = one.get("probability", pd.Series(0.0, index=common)) + two.get("probability", 0.0)
        order = sureness[differ].sort_values(ascending=False, kind="stable").index
    else:
        order = pd.Series(np.abs(gaps), index=common).sort_values(ascending=False, kind="stable").index
    shown = order[:SHOWN_ROWS]
    columns = {"row": shown, "target": one.loc[shown, "target"].to_numpy()} if "target" in one else {"row": shown}
    for name, frame in ((first[0], one), (second[0], two)):
        if "prediction" in frame:
            columns[name] = frame.loc[shown, "prediction"].to_numpy()
    return Pair(
        first[0],
        second[0],
        len(common),
        only_first,
        only_second,
        p,
        float(gaps.mean()),
        float(low),
        float(high),
        pd.DataFrame(columns),
    )


def confusion(predictions: pd.DataFrame, *, most: int = 12) -> pd.DataFrame | None:
    """How often each class (row) was answered with each class (column); None for numbers or too many classes."""
    if not {"target", "prediction"} <= {*predictions} or pd.api.types.is_float_dtype(predictions["target"]):
        return None
    names = sorted({*predictions["target"], *predictions["prediction"]}, key=str)
    if len(names) > most:
        return None
    counts = pd.crosstab(predictions["target"], predictions["prediction"])
    return counts.reindex(index=names, columns=names, fill_value=0)


def calibration(predictions: pd.DataFrame) -> Reliability | None:
    """The reliability curve and the ECE, as the run itself measured them; None where no probabilities were stored.

    With two classes it is of the probability of class 1, with more of that of the predicted class.
    """
    if not {"target", "prediction", "probability"} <= {*predictions} or len(predictions) < FEWEST_EXAMPLES:
        return None
    if "score" in predictions:
        return reliability(predictions["score"].to_numpy(), is_positive(predictions))
    right = predictions["target"] == predictions["prediction"]
    return reliability(predictions["probability"].to_numpy(), right.to_numpy())
