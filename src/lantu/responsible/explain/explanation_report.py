"""Explanations as a folder: a page, a picture of each example, and every attribution in a Parquet file."""

from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lantu import pages
from lantu.responsible.explain.faithfulness import Faithfulness, faithfulness
from lantu.responsible.explain.interpretable_inputs import Explained
from lantu.responsible.explain.methods import METHODS, methods_for
from lantu.whole_files import whole_folder, write_whole

PAGE, TABLE = "index.html", "attributions.parquet"
MOST_SHOWN = 12
"""Columns of a table, or tokens in the mean, that a page lists."""


@dataclass(frozen=True)
class Explanation:
    """The attributions of one method, with what measuring them found."""

    method: str
    found: Tensor
    """(N, features): what each feature adds to the score."""
    faithful: Faithfulness


def explain(examples: Explained, methods: list[str] | None = None, *, sanity: bool = True) -> list[Explanation]:
    """Attribute and measure, by every method that fits or that is named."""
    explanations = []
    for name in methods_for(examples, methods):
        method = METHODS[name]
        found = method(examples).detach()
        measured = faithfulness(examples, found, method if sanity else None)
        explanations.append(Explanation(name, found, measured))
    return explanations


def metrics(explanations: list[Explanation]) -> dict[str, float]:
    """The faithfulness of each method, as numbers of a run."""
    found = {}
    for each in explanations:
        found[f"explain/{each.method}_gain"] = float(each.faithful.gain.mean())
        if each.faithful.randomised is not None:
            found[f"explain/{each.method}_randomised"] = each.faithful.randomised
    return found


def write(folder: Path, examples: Explained, explanations: list[Explanation], *, title: str) -> list[Path]:
    """Write the page, the pictures and the table, all or none; returns the files."""
    with whole_folder(folder) as place:
        files = _write(place, examples, explanations, title=title)
    return [folder / file.name for file in files]


def _write(folder: Path, examples: Explained, explanations: list[Explanation], *, title: str) -> list[Path]:
    files = [folder / TABLE, folder / PAGE]
    frame(examples, explanations).to_parquet(files[0], index=False)
    parts = [pages.paragraph(_introduction(examples), kind="quiet"), *_measured(explanations)]
    parts += [
        pages.picture(_curves(explanations), text="curves of deletion and insertion"),
        *_mean(examples, explanations),
    ]
    parts.append(pages.heading("Each example"))
    for number in range(len(examples.x)):
        name = examples.names[int(examples.which[number])]
        parts.append(pages.heading(f"{number}: {name}, {float(examples.shown[number]):.4g}", level=3))
        if examples.kind == "picture":
            png = _pictures(examples, explanations, number)
            file = folder / f"example_{number}.png"
            file.write_bytes(png)
            files.append(file)
            parts.append(pages.picture(png, text=f"attributions of example {number}"))
        else:
            show = _row if examples.kind == "row" else _text
            parts += [show(examples, each, number) for each in explanations]
        parts += _said(explanations, number)
    write_whole(files[1], pages.page(title, parts))
    return files


def frame(examples: Explained, explanations: list[Explanation]) -> pd.DataFrame:
    """One row for each example, method and feature."""
    parts = []
    for number in range(len(examples.x)):
        names = feature_names(examples, number)
        there = examples.there(number).numpy()
        for each in explanations:
            parts.append(
                pd.DataFrame(
                    {
                        "example": number,
                        "explained": examples.names[int(examples.which[number])],
                        "method": each.method,
                        "feature": np.array(names, dtype=object)[there],
                        "attribution": each.found[number].double().numpy()[there],
                        "gain": each.faithful.gain[number],
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def feature_names(examples: Explained, number: int) -> list[str]:
    """Of an example: its pixels (row, column), its columns, or its tokens."""
    if examples.kind == "picture":
        width = examples.x.shape[3]
        return [f"{place // width},{place % width}" for place in range(len(examples.groups))]
    if examples.kind == "row":
        return [name for name, _ in examples.columns]
    return examples.data.token_names(examples.x[number])


def _introduction(examples: Explained) -> str:
    what = {"picture": "pixel", "row": "column", "text": "token"}[examples.kind]
    return (
        f"{len(examples.x)} examples. Blue raises the score of what is predicted, red lowers it. An attribution says "
        f"what the model used, not what is true of the world. Faithfulness: the {what}s with the largest attributions "
        "are taken away (deletion) or added to a blank input (insertion); the gain is how much faster the prediction "
        "falls and rises than with random orders."
    )


def _measured(explanations: list[Explanation]) -> list[str]:
    rows = []
    for each in explanations:
        low, high = each.faithful.interval
        random = each.faithful.randomised
        rows.append(
            [
                each.method, float(each.faithful.gain.mean()), f"{low:.3f} to {high:.3f}",
                float(each.faithful.deletion.mean()), float(each.faithful.insertion.mean()),
                "not known" if random is None else random,
            ]
        )  # fmt: skip
    header = [
        "method",
        "gain",
        "95% interval",
        "deletion (low is good)",
        "insertion (high is good)",
        "like random weights",
    ]
    warned = [
        pages.paragraph(f"{each.method} {sentence}.", kind="warning")
        for each in explanations
        for sentence in each.faithful.warnings
    ]
    return [pages.heading("Is it true of the model?"), pages.table(header, rows), *warned]


def _said(explanations: list[Explanation], number: int) -> list[str]:
    nothing = [each.method for each in explanations if each.faithful.gain[number] <= 0]
    if not nothing:
        return []
    sentence = f"{', '.join(nothing)}: no better than random orders on this example."
    return [pages.paragraph(sentence, kind="warning")]


def _mean(examples: Explained, explanations: list[Explanation]) -> list[str]:
    """What matters over all examples: columns, or tokens; pictures have no parts in common."""
    if examples.kind == "picture":
        return []
    table = frame(examples, explanations)
    table["size"] = table.attribution.abs()
    parts = [pages.heading("In the mean")]
    for method, rows in table.groupby("method", sort=False):
        size = rows.groupby("feature")["size"].agg(["mean", "size"]).sort_values("mean", ascending=False)
        largest = float(size["mean"].iloc[0]) or 1.0
        shown = size.head(MOST_SHOWN).iterrows()
        cells = [[name, float(each["mean"]), pages.bar(float(each["mean"]) / largest)] for name, each in shown]
        parts += [pages.heading(str(method), level=3), pages.table(["feature", "mean size", ""], cells)]
    return parts


def _row(examples: Explained, each: Explanation, number: int) -> str:
    values = each.found[number].double().numpy()
    names = feature_names(examples, number)
    order = np.argsort(-np.abs(values), kind="stable")[:MOST_SHOWN]
    largest = float(np.abs(values).max()) or 1.0
    cells = [[names[place], float(values[place]), pages.bar(float(values[place]) / largest)] for place in order]
    return pages.paragraph(each.method) + pages.table(["column", "adds", ""], cells)


def _text(examples: Explained, each: Explanation, number: int) -> str:
    values, there = each.found[number].double().numpy(), examples.there(number).numpy()
    largest = float(np.abs(values[there]).max(initial=0)) or 1.0
    spans = []
    for name, value in zip(np.array(feature_names(examples, number), dtype=object)[there], values[there], strict=True):
        colour = "120,170,230" if value >= 0 else "235,130,115"
        share = 0.1 + 0.9 * abs(value) / largest
        spans.append(
            f'<span style="background:rgba({colour},{share:.2f})" title="{value:.4g}">{escape(str(name))}</span>'
        )
    return pages.paragraph(each.method) + f'<p class="tokens">{"".join(spans)}</p>'


def _pictures(examples: Explained, explanations: list[Explanation], number: int) -> bytes:
    """A picture beside the attributions of each method, as PNG."""
    from matplotlib.figure import Figure

    shown = _as_seen(examples.x[number])
    figure = Figure(figsize=(2.3 * (1 + len(explanations)), 2.9), layout="constrained")
    axes: Any = figure.subplots(1, 1 + len(explanations), squeeze=False)[0]
    axes[0].imshow(shown, cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("input", fontsize=9)
    height, width = examples.x.shape[2:]
    for axis, each in zip(axes[1:], explanations, strict=True):
        values = each.found[number].view(height, width).numpy()
        largest = float(np.quantile(np.abs(values), 0.99)) or float(np.abs(values).max()) or 1.0
        axis.imshow(shown if shown.ndim == 2 else shown.mean(axis=2), cmap="gray", vmin=-1, vmax=1.6)
        axis.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest, alpha=0.75)
        axis.set_title(f"{each.method}\ngain {each.faithful.gain[number]:.2f}", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    return _png(figure)


def _curves(explanations: list[Explanation]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(explanations), 2.6), layout="constrained")
    axes: Any = figure.subplots(1, len(explanations), squeeze=False, sharey=True)[0]
    for axis, each in zip(axes, explanations, strict=True):
        removed, added, removed_random, added_random = each.faithful.curves
        share = np.linspace(0, 1, len(removed))
        axis.plot(share, removed, color="#c0392b", label="deletion")
        axis.plot(share, removed_random, color="#c0392b", linestyle=":", label="deletion, random")
        axis.plot(share, added, color="#2f6fb7", label="insertion")
        axis.plot(share, added_random, color="#2f6fb7", linestyle=":", label="insertion, random")
        axis.set_title(each.method, fontsize=9)
        axis.set_xlabel("share of features", fontsize=8)
    axes[0].set_ylabel("prediction", fontsize=8)
    axes[0].legend(fontsize=7)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _as_seen(x: Tensor) -> np.ndarray:
    """A standardised picture (C, H, W) as grey (H, W) or colour (H, W, 3) from 0 to 1."""
    low, high = x.amin(dim=(1, 2), keepdim=True), x.amax(dim=(1, 2), keepdim=True)
    scaled = ((x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)).permute(1, 2, 0).numpy()
    return scaled if scaled.shape[2] == 3 else scaled[..., 0]
