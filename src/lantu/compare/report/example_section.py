"""The report's section on single examples: where the two best disagree, their confusions and their calibration."""

from html import escape

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.methods.stored_predictions import Pair, calibration, compare_pair, confusion
from lantu.compare.phrases import counted, digits_for, interval
from lantu.compare.report import svg
from lantu.compare.report.outlook import scrolling, section


def examples_section(analysis: Analysis) -> str:
    """The two best configurations on the same examples; empty where no predictions are stored."""
    chosen = _two_runs(analysis)
    if chosen is None or analysis.examples is None:
        return ""
    (first, one), (second, two) = chosen
    pair = compare_pair((first, one), (second, two), analysis.metric, level=analysis.comparison.level)
    if pair is None:
        return ""
    split = "validation" if analysis.metric.startswith("val/") else "test"
    parts = [_sentences(pair, analysis), _rows(pair), _confusions(chosen), _reliability(chosen, split)]
    lead = f"One run of each of the two best configurations on the same {pair.number:,} {split} examples."
    return section("Example by example", lead, "".join(parts))


def _two_runs(analysis: Analysis) -> list[tuple[str, pd.DataFrame]] | None:
    """A run of the winner and one of the next, of the same seed if there is one."""
    examples = analysis.examples
    if examples is None:
        return None
    labels = [str(label) for label in analysis.comparison.scored.index if str(label) in examples.runs][:2]
    if len(labels) < 2:
        return None
    seeds = [{str(analysis.groups.seed[run]): run for run in examples.runs[label]} for label in labels]
    shared = [seed for seed in seeds[0] if seed in seeds[1]]
    runs = [by_seed[shared[0]] if shared else next(iter(by_seed.values())) for by_seed in seeds]
    return [(label, examples.runs[label][run]) for label, run in zip(labels, runs, strict=True)]


def _sentences(pair: Pair, analysis: Analysis) -> str:
    digits = digits_for((pair.high - pair.low) / 2)
    said = (
        f"{analysis.metric} of {pair.first} less that of {pair.second}: {number(pair.difference, digits)} "
        f"({analysis.comparison.level:.0%} paired bootstrap interval {interval(pair.low, pair.high, digits)})."
    )
    if pair.mcnemar is not None and pair.only_first is not None and pair.only_second is not None:
        p = "p < 0.001" if pair.mcnemar < 0.001 else f"p = {pair.mcnemar:.2g}"
        said += (
            f" {counted(pair.only_first, 'example')} only the first gets right, {counted(pair.only_second, 'example')} "
            f"only the second (McNemar's exact test: {p})."
        )
    return f"<p>{escape(said)} This compares two trained models, not two configurations.</p>"


def _rows(pair: Pair) -> str:
    if pair.rows.empty:
        return "<p>They give the same answer everywhere.</p>"
    head = "".join(f"<th>{escape(str(name))}</th>" for name in pair.rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(cell))}</td>" for cell in row) + "</tr>"
        for row in pair.rows.itertuples(index=False)
    )
    title = f"Rows on which they disagree most ({len(pair.rows)} shown; numbered as in the split)"
    table = scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", "Examples")
    return f"<details><summary>{title}</summary>{table}</details>"


def _confusions(chosen: list[tuple[str, pd.DataFrame]]) -> str:
    made = [(label, confusion(frame)) for label, frame in chosen]
    parts = [_matrix(label, counts) for label, counts in made if counts is not None]
    return f'<div class="charts below">{"".join(parts)}</div>' if parts else ""


def _matrix(label: str, counts: pd.DataFrame) -> str:
    head = "".join(f'<th class="n">{escape(str(name))}</th>' for name in counts.columns)
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    rows = ""
    for name in counts.index:
        cells = "".join(
            f'<td class="n" style="background:color-mix(in srgb, var(--best) {38 * shares.loc[name, column]:.0f}%, '
            f'transparent)">{counts.loc[name, column]:,}</td>'
            for column in counts.columns
        )
        rows += f"<tr><th>{escape(str(name))}</th>{cells}</tr>"
    caption = f"<figcaption>{escape(label)}: true class by row, answer by column</figcaption>"
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<figure>{caption}{scrolling(table, f'Confusion matrix of {label}')}</figure>"


def _reliability(chosen: list[tuple[str, pd.DataFrame]], split: str) -> str:
    curves = [(label, calibration(frame)) for label, frame in chosen]
    known = [(label, curve) for label, curve in curves if curve is not None]
    if not known:
        return ""
    chart = svg.Chart(
        (0, 1), (0, 1), x_label="predicted probability", y_label="observed frequency", title="Reliability"
    )
    chart.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), colour=svg.COLOURS[6], dash="3 3", width=1.2)
    entries = []
    for place, (label, curve) in enumerate(known):
        colour, dash = svg.COLOURS[place], svg.DASHES[place]
        chart.line(curve.predicted, curve.observed, colour=colour, dash=dash)
        for x, y, count in zip(curve.predicted, curve.observed, curve.counts, strict=True):
            tip = f"{label}: {count:.0f} examples"
            chart.dot(float(x), float(y), colour=colour, mark=svg.MARKS[place], size=3.4, tip=tip)
        low, high = curve.interval
        entries.append((f"{label} (ECE {curve.ece:.3f}, 95% interval {low:.3f} to {high:.3f})", colour, dash, ""))
    caption = "Reliability: bins of equally many examples, and the expected calibration error (ECE)"
    if split == "validation":  # a run fits its calibration on them, and stores them as they were before
        caption += ", before calibration"
    figure = f"<figure><figcaption>{caption}</figcaption>{chart.done()}{svg.legend(entries)}</figure>"
    return f'<div class="charts below">{figure}</div>'


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
