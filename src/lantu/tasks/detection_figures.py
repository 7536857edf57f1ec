"""Draw what a detector finds: curves, confusion, and pictures with boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lantu.tasks.detection_matching import Boxes, Match, match
from lantu.tasks.plots import CLASSES_DRAWN, COLOURS, sheet

PICTURES_DRAWN = 8
HIT, FALSE_ALARM, MISS = "#009E73", "#D55E00", "#56B4E9"


def precision_recall(found: Sequence[Boxes], truth: Sequence[Boxes], names: Sequence[str]) -> Figure:
    """Precision by recall of each class, over all scores; a hit overlaps a true box by half."""
    figure, axes = sheet("Precision and recall at IoU 0.5")
    matches = [match(*pair) for pair in zip(found, truth, strict=True)]
    for number, (name, colour) in enumerate(zip(names[:CLASSES_DRAWN], COLOURS * 2, strict=False)):
        _, precision, recall = curve(matches, number)
        if len(recall):
            axes.plot(recall, precision, color=colour, linewidth=1.5, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    _legend(axes)
    return figure


def confidence(found: Sequence[Boxes], truth: Sequence[Boxes], names: Sequence[str], *, threshold: float) -> Figure:
    """F1 of each class by the score from which boxes count, and the threshold that is in use."""
    figure, axes = sheet("F1 by confidence at IoU 0.5")
    matches = [match(*pair) for pair in zip(found, truth, strict=True)]
    for number, (name, colour) in enumerate(zip(names[:CLASSES_DRAWN], COLOURS * 2, strict=False)):
        scores, precision, recall = curve(matches, number)
        if len(scores):
            value = 2 * precision * recall / (precision + recall).clip(min=1e-9)
            best = int(value.argmax())
            label = f"{name}: {value[best]:.2f} at {scores[best]:.2f}"
            axes.plot(scores, value, color=colour, linewidth=1.5, label=label)
    axes.axvline(threshold, color="0.5", linewidth=1, linestyle="--", label=f"task.threshold={threshold:g}")
    axes.set(xlabel="score from which boxes count", ylabel="F1", xlim=(0, 1), ylim=(0, 1.02))
    _legend(axes)
    return figure


def curve(matches: Sequence[Match], label: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores in falling order, and precision and recall of a class from each of them on; empty without objects."""
    total = sum(int((each.truth == label).sum()) for each in matches)
    chosen = [(each.labels == label) & ~each.ignored for each in matches]
    scores = np.concatenate([each.scores[rows] for each, rows in zip(matches, chosen, strict=True)] or [np.zeros(0)])
    hits = np.concatenate([each.hits[rows] >= 0 for each, rows in zip(matches, chosen, strict=True)] or [np.zeros(0)])
    if not total or not len(scores):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    right = hits[order].cumsum()
    return scores[order], right / np.arange(1, len(order) + 1), right / total


def confusion(found: Sequence[Boxes], truth: Sequence[Boxes], names: Sequence[str], *, threshold: float) -> Figure:
    """The confusion matrix of classes and background: true ones in rows, predicted ones in columns."""
    count = len(names)
    table = np.zeros((count + 1, count + 1), int)
    for pair in zip(found, truth, strict=True):
        each = match(*pair, threshold=threshold, same_class=False)
        hit = each.hits >= 0
        np.add.at(table, (each.truth[each.hits[hit]], each.labels[hit]), 1)
        np.add.at(table, (count, each.labels[~hit & ~each.ignored]), 1)
        missed = np.setdiff1d(np.arange(len(each.truth)), each.hits[hit])
        np.add.at(table, (each.truth[missed], count), 1)
    figure, axes = sheet(f"Confusion at score {threshold:g} and IoU 0.5", size=(6, 5.4))
    axes.grid(visible=False)
    shares = table / table.sum(axis=1, keepdims=True).clip(min=1)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.85)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= CLASSES_DRAWN:
        ticks = [*names, "background"]
        axes.set_xticks(range(count + 1), ticks, rotation=45, ha="right")
        axes.set_yticks(range(count + 1), ticks)
        for row, column in np.ndindex(*table.shape):
            if table[row, column]:
                colour = "black" if shares[row, column] > 0.5 else "white"
                axes.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=7, color=colour)
    return figure


def worst_first(found: Sequence[Boxes], truth: Sequence[Boxes], *, threshold: float) -> list[int]:
    """The pictures with the most misses and false alarms, at most `PICTURES_DRAWN`."""
    wrong = []
    for pair in zip(found, truth, strict=True):
        each = match(*pair, threshold=threshold)
        wrong.append(each.misses + each.false_alarms)
    return np.argsort(-np.array(wrong), kind="stable")[:PICTURES_DRAWN].tolist()


def pictures(
    chosen: Sequence[tuple[np.ndarray, Boxes, Boxes]], names: Sequence[str], *, threshold: float, title: str
) -> Figure:
    """Pictures with boxes: hits and false alarms with class and score, and the true boxes that were missed.

    Args:
        chosen: pictures (H, W, C) as bytes, with their predicted and true boxes.
    """
    columns = min(4, max(1, len(chosen)))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    for number, (pixels, found, truth) in enumerate(chosen, start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.axis("off")
        each = match(found, truth, threshold=threshold)
        sure = found["scores"] >= threshold
        for box, hit, score, label in zip(
            found["boxes"][sure].tolist(), each.hits, each.scores, each.labels, strict=True
        ):
            _draw(axes, box, HIT if hit >= 0 else FALSE_ALARM, f"{names[label]} {score:.2f}")
        crowd = truth["iscrowd"].bool()
        missed = np.setdiff1d(np.arange(len(each.truth)), each.hits)
        for row in missed:
            _draw(axes, truth["boxes"][~crowd][row].tolist(), MISS, names[each.truth[row]], dashed=True)
        right = int((each.hits >= 0).sum())
        axes.set_title(f"{right} hits, {each.false_alarms} false alarms, {each.misses} missed", fontsize=7)
    legend = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour) for colour in (HIT, FALSE_ALARM, MISS)]
    figure.legend(legend, ["hit", "false alarm", "missed"], loc="upper right", ncols=3, frameon=False, fontsize=8)
    return figure


def _draw(axes: Axes, box: list[float], colour: str, text: str, *, dashed: bool = False) -> None:
    x, y, right, bottom = box
    style: dict[str, Any] = {"linestyle": "--"} if dashed else {}
    axes.add_patch(Rectangle((x, y), right - x, bottom - y, fill=False, edgecolor=colour, linewidth=1.1, **style))
    axes.text(x, y - 1, text, fontsize=4.5, color="white", va="bottom", clip_on=True,
              bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.4, "alpha": 0.8})  # fmt: skip


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=7)
