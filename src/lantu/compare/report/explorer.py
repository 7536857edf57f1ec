"""The part of the report that one can work in: search, sort, filter and look at all runs at once.

The script beside this file draws on canvases, because ten thousand runs are too many elements for SVG, and every
picture shares one selection. Charting libraries were weighed: uPlot draws lines over time and has no brushes or
parallel axes; Vega-Lite and Plot would add half a megabyte or more to every report, and would have to be taught the
linked selection. The script is 23 kB. Without it the page is what it was before: the section stays hidden.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.methods.groups import is_incidental
from lantu.compare.report.listing import run_address
from lantu.compare.report.outlook import scrolling, section
from lantu.metric_direction import known_direction

NOTE = "lantu.note"
"""The tag of a run with what a person has noted of it, as `lantu runs --note` writes it."""
MOST_SETTINGS = 10
"""Settings that become columns, the ones that vary most first; more could not be read side by side."""
MOST_RUNS = 20_000
"""Runs that are drawn; each takes a hundred bytes of the page."""
SHARE_OF_BEST = 0.25
"""How many of them are the best ones, where there are more runs; the others are drawn at random."""
DIGITS = 5
MOST_CELLS = 100_000
"""Of settings that are no columns, and letters of their values; about three bytes each."""
MOST_LETTERS = 300


def explorer_section(analysis: Analysis) -> str:
    """The section, its data and its script; nothing where there are fewer than two runs to look at."""
    if len(analysis.runs) < 2:
        return ""
    data = json.dumps(explorer_data(analysis), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    script = Path(__file__).with_name("explorer.js").read_text(encoding="utf-8")
    runs = len(analysis.runs)
    shown = (
        "All runs."
        if runs <= MOST_RUNS
        else f"{MOST_RUNS:,} of {runs:,} runs: the {round(SHARE_OF_BEST * MOST_RUNS):,} best, and others at random."
    )
    lead = (
        f"{shown} Drag in the picture or along an axis to choose some; a click takes the choice back. "
        "The search takes words, ids and conditions such as lr&lt;0.01 or model=cnn. Tick two runs to see what differs."
    )
    body = section("Explore the runs", lead, _CONTROLS + _PICTURES + _TABLE)
    body = body.replace("<section>", '<section id="explorer" hidden>', 1)
    return f'{body}<script type="application/json" id="explorer-data">{data}</script><script>{script}</script>'


def explorer_data(analysis: Analysis) -> dict[str, Any]:
    """What the script draws: columns of the runs, numbers rounded, texts as codes of a list of words."""
    runs, groups = analysis.runs, analysis.groups
    everywhere = runs.info["start"].rank(method="first").sort_values().index
    order = everywhere[drawn(runs.score.reindex(everywhere), mode=analysis.mode)]
    settings = groups.settings.reindex(groups.of_run.reindex(order)).set_axis(order)
    varied = settings.nunique().sort_values(ascending=False, kind="stable").index[:MOST_SETTINGS]
    columns = [
        _column(groups.short.get(str(name), str(name)), settings[name], axis=True)
        for name in settings.columns
        if name in varied
    ]
    spread = max(columns, key=lambda each: len(set(each.get("values", ()))), default=None)
    across = spread["name"] if spread else "order"
    colour = next((each["name"] for each in columns if "words" in each), across)
    columns.append(_column(analysis.metric, runs.score.reindex(order), axis=True))
    for name in _further(analysis):
        columns.append(_column(name, runs.metrics[name].reindex(order), axis=name == analysis.cost))
    notes = runs.tags.get(NOTE, pd.Series(dtype=object))
    columns += [
        _column("seed", groups.seed.reindex(order), axis=False),
        *([_column("note", notes.reindex(order), axis=False)] if notes.notna().any() else []),
        _column("ended", _endings(analysis).reindex(order), axis=False),
        _column("order", pd.Series(np.arange(1, len(order) + 1, dtype=float), index=order), axis=False, table=False),
    ]
    shown = {str(name) for name in varied}
    link = run_address(analysis, experiment="EXPERIMENT", run="RUN")
    return {
        "columns": columns,
        "ids": [str(run) for run in order],
        "settings": _further_settings(analysis, order, shown=shown),
        "link": link,
        "experiments": [str(each) for each in runs.info["experiment_id"].reindex(order)] if link else [],
        "score": analysis.metric,
        "higher": _higher_is_better(analysis),
        "x": across,
        "colour": colour,
    }


def _further_settings(analysis: Analysis, order: "pd.Index[str]", *, shown: set[str]) -> dict[str, Any]:
    """Settings that vary and are no columns, for the difference of two runs: each combination once.

    Returns:
        names; words that the codes stand for; rows of codes, -1 for none; and for each run its row. Empty, but for
        `left_out`, where they would make the page too large.
    """
    params = analysis.runs.params.reindex(order)
    names = [str(name) for name in params if name not in shown and not is_incidental(str(name)) and name != "seed"]
    if not names:
        return {"names": [], "words": [], "rows": [], "of": [], "left_out": 0}
    texts = params[names].astype(object).where(params[names].notna(), None)
    codes, words = pd.factorize(texts.to_numpy().ravel())
    rows, of = np.unique(codes.reshape(len(order), len(names)), axis=0, return_inverse=True)
    said = [f"{word[:MOST_LETTERS]}…" if len(word) > MOST_LETTERS else word for word in map(str, words)]
    if rows.size + sum(map(len, said)) > MOST_CELLS:
        return {"names": [], "words": [], "rows": [], "of": [], "left_out": len(names)}
    return {"names": names, "words": said, "rows": rows.tolist(), "of": of.ravel().tolist(), "left_out": 0}


def drawn(score: pd.Series, *, mode: str, most: int = MOST_RUNS) -> np.ndarray:
    """Which runs are drawn, as places in their order: all, or the best ones and a sample of the others."""
    if len(score) <= most:
        return np.arange(len(score))
    best = (score if mode == "min" else -score).rank(method="first", na_option="bottom").to_numpy() - 1
    kept = best < SHARE_OF_BEST * most
    others = np.random.default_rng(0).choice(np.flatnonzero(~kept), most - int(kept.sum()), replace=False)
    return np.sort(np.concatenate([np.flatnonzero(kept), others]))


def _further(analysis: Analysis) -> list[str]:
    """Other metrics worth a column: the cost, the test score, the duration."""
    names = [analysis.cost, analysis.test, "cost/device_hours", "val/accuracy"]
    return [
        name for name in dict.fromkeys(names)
        if name and name != analysis.metric and name in analysis.runs.metrics
        and analysis.runs.metrics[name].notna().any()
    ]  # fmt: skip


def _higher_is_better(analysis: Analysis) -> list[str]:
    """The metrics among the columns of which more is better: `best so far` goes up."""
    found = [name for name in _further(analysis) if known_direction(name) == "max"]
    return [analysis.metric, *found] if analysis.mode == "max" else found


def _endings(analysis: Analysis) -> pd.Series:
    said = analysis.runs.info["status"].str.lower()
    return said.where(~analysis.failed, "failed")


def _column(name: str, values: pd.Series, *, axis: bool, table: bool = True) -> dict[str, Any]:
    """A column for the script; text that is all numbers is numbers."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() == values.notna().sum():
        finite = numbers.where(np.isfinite(numbers.astype(float)))
        rounded = [None if pd.isna(value) else float(f"{value:.{DIGITS}g}") for value in finite.astype(float)]
        return {"name": name, "values": [_whole(each) for each in rounded], "axis": axis, "table": table}
    texts = values.map(lambda value: None if pd.isna(value) else str(value)).astype(object)
    codes, words = pd.factorize(texts, sort=True)
    return {
        "name": name, "words": [str(each) for each in words], "codes": [int(each) for each in codes], "axis": axis,
        "table": table,
    }  # fmt: skip


def _whole(value: float | None) -> float | int | None:
    """An integer where the number is one, which takes two characters less."""
    return int(value) if value is not None and value.is_integer() and abs(value) < 1e15 else value


def _select(part: str, label: str) -> str:
    return f'<label>{escape(label)} <select data-part="{part}"></select></label>'


_CONTROLS = (
    '<div class="controls"><label class="search">Search <input data-part="search" type="search" '
    'placeholder="lr&lt;0.01 model=cnn"></label>'
    + _select("x", "across")
    + _select("y", "up")
    + _select("colour", "colour")
    + '<label><input data-part="log-x" type="checkbox"> log across</label>'
    '<label><input data-part="log-y" type="checkbox"> log up</label>'
    '<label><input data-part="zoom" type="checkbox"> zoom to the chosen</label>'
    '<label>line <select data-part="trend"><option value="none">none</option><option value="best">best so far</option>'
    '<option value="median">median of neighbours</option><option value="contour">contour of the colour</option>'
    "</select></label>"
    '<button data-part="clear" type="button">Clear</button><output data-part="count" role="status"></output></div>'
)
_PICTURES = (
    '<div class="canvases"><div class="stage"><canvas data-part="scatter" role="img" '
    'aria-label="Scatter plot of the runs; the table below has the same numbers"></canvas>'
    '<div data-part="tip" class="tip" hidden></div></div>'
    '<canvas data-part="parallel" role="img" '
    'aria-label="Parallel coordinates of the runs; the table below has the same numbers"></canvas></div>'
)
_DIFFERENCE = (
    '<div data-part="difference" class="difference" hidden><h3>What differs</h3><table><thead><tr><td></td>'
    '<th data-part="one"></th><th data-part="other"></th></tr></thead>'
    '<tbody data-part="differing"></tbody></table><p class="note" data-part="left-out"></p></div>'
)
_NOTE = (
    '<div data-part="noting" hidden><label>Note on the ticked runs <input data-part="note" type="text" '
    'placeholder="diverged after the warm-up"></label> '
    '<button data-part="copy-note" type="button" disabled>Copy command</button> '
    '<code data-part="note-command"></code></div>'
)
_PAGES = (
    '<p class="pages"><button data-part="previous" type="button">Previous</button> page '
    '<span data-part="page"></span> <button data-part="next" type="button">Next</button></p>'
)
_ROWS = '<table class="runs"><thead><tr data-part="head"></tr></thead><tbody data-part="body"></tbody></table>'
_TABLE = _DIFFERENCE + _NOTE + scrolling(_ROWS, "Runs") + _PAGES
