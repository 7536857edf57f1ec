"""Figures of calibration and of decisions on a test split: reliability, gains, KS, acceptance, profit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lantu.decisions.scores import calibration_pairs, reliability, roc_points
from lantu.tasks.calibrated_classifier import CalibratedClassifier
from lantu.tasks.outputs import Outputs, once_each
from lantu.tasks.plots import COLOURS, sheet


def decision_figures(task: CalibratedClassifier, outputs: Outputs) -> Iterator[tuple[str, Any]]:
    """Named figures of a test's outputs: `reliability`, and of a decision `gains`, `ks`, `acceptance` and `profit`."""
    outputs = once_each(outputs)
    probabilities, y = task.probabilities(outputs["output"]).numpy(), outputs["y"].numpy()
    before = outputs.get("uncalibrated")
    own = None if before is None else before.float().softmax(dim=-1).numpy()
    names = task.class_names
    yield "reliability", reliability_figure(probabilities, y, own, of=names[1] if len(names) == 2 else "the prediction")
    if task.decision is not None and 0 < y.sum() < len(y):
        event = names[1]
        score, threshold = probabilities[:, 1], task.decision.threshold
        yield "gains", gains_figure(score, y, event)
        yield "ks", ks_figure(score, y, threshold, event)
        yield "acceptance", acceptance_figure(score, y, threshold, event)
        yield "profit", profit_figure(task, score, y)


def reliability_figure(probabilities: np.ndarray, y: np.ndarray, own: np.ndarray | None = None, *, of: str) -> Figure:
    """Observed frequency against predicted probability in bins of equally many examples, with intervals.

    Args:
        probabilities: (N, classes), calibrated; own: those of the network, drawn for comparison.
        of: what they are probabilities of.
    """
    curve = reliability(*calibration_pairs(probabilities, y))
    figure, axes = sheet("Reliability on the test split", size=(5.2, 5))
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="perfect")
    if own is not None and not np.allclose(own, probabilities, atol=1e-6):
        raw = reliability(*calibration_pairs(own, y))
        axes.plot(raw.predicted, raw.observed, color=COLOURS[1], marker="^", markersize=4, linewidth=1,
                  label=f"before calibration, ECE {raw.ece:.3f}")  # fmt: skip
    low, high = curve.interval
    spread = np.clip([curve.observed - curve.low, curve.high - curve.observed], 0, None)
    axes.errorbar(curve.predicted, curve.observed, yerr=spread, color=COLOURS[0], marker="o", markersize=4,
                  linewidth=1.5, elinewidth=1, label=f"ECE {curve.ece:.3f} (95% {low:.3f} to {high:.3f})")  # fmt: skip
    axes.set(xlabel=f"probability of {of}", ylabel="observed frequency")
    top_end = max(curve.high.max(), curve.predicted.max()) * 1.05
    if top_end < 0.6:  # rare events would be a dot in the corner
        axes.set(xlim=(0, top_end), ylim=(0, top_end))
    axes.legend(frameon=False, fontsize=7, loc="upper left", title=f"a perfect model would show {curve.expected:.3f}",
                title_fontsize=7)  # fmt: skip
    return figure


def gains_figure(score: np.ndarray, y: np.ndarray, event: str) -> Figure:
    """Cumulative gains: the share of the positives among the riskiest examples."""
    order = np.argsort(-score, kind="stable")
    found = np.cumsum(y[order]) / y.sum()
    share = np.arange(1, len(y) + 1) / len(y)
    figure, axes = sheet("Cumulative gains on the test split")
    axes.plot(share, found, color=COLOURS[0], linewidth=1.5, label="model")
    axes.plot([0, y.mean(), 1], [0, 1, 1], color=COLOURS[2], linewidth=1, label="perfect")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="at random")
    axes.set(xlabel="share of the examples, riskiest first", ylabel=f"share of {event} found")
    axes.legend(frameon=False, fontsize=7)
    return figure


def ks_figure(score: np.ndarray, y: np.ndarray, threshold: float, event: str) -> Figure:
    """Distributions of the score of positives and of negatives, and where they are farthest apart."""
    false, true, scores = roc_points(score, y)
    figure, axes = sheet("Kolmogorov-Smirnov on the test split")
    axes.plot(scores, 1 - true, color=COLOURS[1], linewidth=1.5, label=event)
    axes.plot(scores, 1 - false, color=COLOURS[0], linewidth=1.5, label=f"not {event}")
    place = int(np.argmax(true - false))
    axes.vlines(scores[place], 1 - true[place], 1 - false[place], color="0.2", linewidth=1.5,
                label=f"KS {true[place] - false[place]:.3f}")  # fmt: skip
    axes.axvline(threshold, color="0.6", linestyle="--", linewidth=1, label=f"threshold {threshold:.3f}")
    axes.set(xlabel=f"probability of {event}", ylabel="share below", xlim=(0, min(1.0, scores.max() * 1.05)))
    axes.legend(frameon=False, fontsize=7)
    return figure


def acceptance_figure(score: np.ndarray, y: np.ndarray, threshold: float, event: str) -> Figure:
    """The share of positives among the accepted, by the share that is accepted."""
    order = np.argsort(score, kind="stable")
    accepted = np.arange(1, len(y) + 1) / len(y)
    share = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
    shown = accepted >= min(0.05, 50 / len(y))
    figure, axes = sheet("Acceptance on the test split")
    axes.plot(accepted[shown], share[shown], color=COLOURS[0], linewidth=1.5)
    rate = float((score < threshold).mean())
    axes.axvline(rate, color="0.6", linestyle="--", linewidth=1, label=f"chosen threshold: {rate:.1%} accepted")
    axes.axhline(y.mean(), color="0.8", linewidth=1, label=f"all accepted: {y.mean():.1%}")
    axes.set(xlabel="share accepted, least risky first", ylabel=f"share of {event} among the accepted", ylim=(0, None))
    axes.legend(frameon=False, fontsize=7)
    return figure


def profit_figure(task: CalibratedClassifier, score: np.ndarray, y: np.ndarray) -> Figure:
    """Mean profit of a decision by the share that is accepted, with the threshold that validation chose."""
    decision = task.decision
    assert decision is not None
    thresholds, profits = decision.profit.curve(score, y)
    accepted = np.searchsorted(np.sort(score), thresholds) / len(score)
    chosen = decision.threshold
    earned, rate = float(decision.profit.of(score, y, chosen).mean()), float((score < chosen).mean())
    figure, axes = sheet("Profit of a decision on the test split")
    axes.plot(accepted, profits, color=COLOURS[0], linewidth=1.5)
    axes.scatter([rate], [earned], color=COLOURS[1], zorder=3,
                 label=f"threshold {chosen:.3f}, chosen on validation: {earned:.3f}")  # fmt: skip
    axes.axhline(profits[-1], color="0.8", linewidth=1, label=f"all accepted: {profits[-1]:.3f}")
    axes.set(xlabel=f"share decided as {decision.actions[0]}", ylabel="mean profit of a decision")
    axes.legend(frameon=False, fontsize=7)
    return figure
