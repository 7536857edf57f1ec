"""Draw what a run measured, in Okabe and Ito's colours (2008), which everybody can tell apart."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay, confusion_matrix

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
CLASSES_DRAWN = 12  # more curves or numbered cells than this cannot be told apart
POINTS_DRAWN = 5_000
SHAPES = ("o", "^", "s", "D", "v", "P", "p")
NAMES_SHOWN = 14


def learning_curve(losses: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Losses by step; each a name and its (step, value) points. Every call draws on the same figure, anew."""
    figure, axes = _loss_sheet()
    for line in list(axes.lines):
        line.remove()
    axes.set_yscale("linear")
    for (name, points), colour in zip(losses.items(), COLOURS, strict=False):
        if points:
            steps, values = zip(*points, strict=True)
            few = len(points) <= 40
            axes.plot(
                steps,
                values,
                label=name,
                color=colour,
                marker="o" if few else None,
                markersize=3,
                linewidth=1.5,
            )
    axes.relim()
    axes.autoscale()
    positive = [value for points in losses.values() for _, value in points if value > 0]
    if positive and max(positive) / min(positive) > 30:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


@cache
def _loss_sheet() -> tuple[Figure, Axes]:
    """Axes for learning curves, which every trial of a sweep draws: new ones take a third of the time of a curve.

    The margins are fixed, since a layout that measures all labels first takes as long again.
    """
    figure, axes = sheet("Loss by step", layout=None)
    figure.subplots_adjust(left=0.16, right=0.97, bottom=0.12, top=0.92)
    axes.set(xlabel="step", ylabel="loss")
    return figure, axes


def precision_recall_of_labels(p: np.ndarray, y: np.ndarray, names: Sequence[str]) -> Figure:
    """A precision-recall curve of each label, the commonest labels of many.

    Args:
        p: probabilities (N, labels); y: 1, 0 or NaN (unknown) for each.
    """
    figure, axes = sheet("Precision by recall of each label")
    drawn = np.argsort(-(y == 1).sum(axis=0), kind="stable")[: len(COLOURS)]
    for number, colour in zip(drawn, COLOURS, strict=False):
        known = ~np.isnan(y[:, number])
        if (y[known, number] == 1).any():
            PrecisionRecallDisplay.from_predictions(
                y[known, number], p[known, number], ax=axes, name=str(names[number]), curve_kwargs={"color": colour}
            )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize="small")
    return figure


def rank_curves(ranks: Mapping[str, Any]) -> Figure:
    """The share of queries whose right match is among the nearest K, for every K; by direction, ranks (N,) from 1."""
    figure, axes = sheet("Recall among the nearest K")
    for (name, places), colour in zip(ranks.items(), COLOURS, strict=False):
        ordered = np.sort(np.asarray(places))
        shares = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, shares, where="post", label=name.replace("_", " "), color=colour, linewidth=1.5)
    axes.set(xlabel="K", ylabel="recall", xscale="log", ylim=(0, 1))
    axes.legend(frameon=False)
    return figure


def by_language(table: Mapping[str, Sequence[Any]]) -> Figure:
    """The third column of each language, sorted; the commonest scripts in colours and shapes of their own."""
    measure = list(table)[2]
    figure, axes = sheet(f"{measure.replace('_', ' ')} of each language, the best first", size=(8, 4.5))
    scripts, values = np.array(table["script"]), np.array(table[measure])
    common = [script for script, _ in Counter(table["script"]).most_common(len(SHAPES))]
    rank = np.arange(len(values))
    rest = ~np.isin(scripts, common)
    for script, colour, shape in zip(common, COLOURS, SHAPES, strict=False):
        here = scripts == script
        label = f"{script} ({here.sum()})"
        axes.scatter(rank[here], values[here], s=14, color=colour, marker=shape, linewidths=0, label=label, zorder=2)
    if rest.any():
        label = f"others ({rest.sum()})"
        axes.scatter(rank[rest], values[rest], s=12, color="0.55", marker="x", linewidths=1, label=label, zorder=2)
    for place in np.unique(np.linspace(0, len(values) - 1, min(len(values), NAMES_SHOWN)).astype(int)):
        axes.annotate(
            table["language"][place], (rank[place], values[place]), xytext=(0, -14), textcoords="offset points",
            fontsize=7, ha="center", color="0.25", arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
        )  # fmt: skip
    axes.set(xlabel="languages", ylabel=measure.replace("_", " "), ylim=(0, None))
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="lower right")
    return figure


def classification_figures(probabilities: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, Figure]:
    """The confusion matrix, ROC and precision-recall curves of a test split, by name.

    Args:
        probabilities: (N, classes); truth: class numbers (N,); names: of the classes.
    """
    present = [number for number in range(len(names)) if 0 < (truth == number).sum() < len(truth)]
    drawn = [1] if len(names) == 2 and 1 in present else present[:CLASSES_DRAWN]
    roc, roc_axes = sheet("ROC on the test split")
    curve, curve_axes = sheet("Precision and recall on the test split")
    for number, colour in zip(drawn, COLOURS * 2, strict=False):
        is_class, score, name = truth == number, probabilities[:, number], names[number]
        style = {"color": colour, "linewidth": 1.5}
        RocCurveDisplay.from_predictions(is_class, score, name=name, ax=roc_axes, curve_kwargs=style)
        PrecisionRecallDisplay.from_predictions(is_class, score, name=name, ax=curve_axes, curve_kwargs=style)
    roc_axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    roc_axes.set(xlabel="false positive rate", ylabel="true positive rate")
    curve_axes.set(xlabel="recall", ylabel="precision")
    for axes in (roc_axes, curve_axes):
        axes.legend(frameon=False, fontsize=7)
    return {"confusion": _confusion(probabilities, truth, names), "roc": roc, "precision_recall": curve}


def regression_figures(predicted: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, Figure]:
    """Prediction against truth on a test split, both (N, targets), a figure for each target."""
    figures = {}
    for column, name in enumerate(names):
        figure, axes = sheet(f"{name}: prediction against truth on the test split")
        shown = np.linspace(0, len(truth) - 1, min(len(truth), POINTS_DRAWN)).astype(int)
        axes.scatter(truth[shown, column], predicted[shown, column], s=8, alpha=0.5, color=COLOURS[0], linewidths=0)
        low, high = truth[:, column].min(), truth[:, column].max()
        axes.plot([low, high], [low, high], color="0.4", linewidth=1, linestyle="--", label="perfect")
        axes.set(xlabel="truth", ylabel="prediction")
        axes.legend(frameon=False)
        figures["predictions" if len(names) == 1 else f"predictions_{name}"] = figure
    return figures


def _confusion(probabilities: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> Figure:
    counts = confusion_matrix(truth, probabilities.argmax(axis=1), labels=range(len(names)))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = sheet("Confusion on the test split", size=(6, 5.4))
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.85)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= CLASSES_DRAWN:
        axes.set_xticks(range(len(names)), list(names), rotation=45, ha="right")
        axes.set_yticks(range(len(names)), list(names))
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                colour = "black" if shares[row, column] > 0.5 else "white"
                axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=7, color=colour)
    return figure


def sheet(
    title: str, size: tuple[float, float] = (6, 4), *, layout: Literal["constrained"] | None = "constrained"
) -> tuple[Figure, Axes]:
    """An empty figure, made without pyplot: no display, no global state."""
    figure = Figure(figsize=size, dpi=120, layout=layout)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left", y=1.0)  # y: otherwise every label is measured to find the place
    axes.grid(visible=True, color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
