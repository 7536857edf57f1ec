"""The report's section on slices of the examples: how each of the best configurations does for each of them."""

from html import escape

import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import MISSING, number
from lantu.compare.phrases import counted, digits_for
from lantu.compare.reading.run_frames import recorded_direction
from lantu.compare.report.outlook import scrolling, section
from lantu.metric_direction import known_direction
from lantu.slice_names import parts_of, slice_name

SHOWN_GROUPS = 4
"""Configurations whose slices are shown, best first."""
MOST_SLICES = 60
"""Rows of a table; where there are more, those in which the winner does worst."""


def slices_section(analysis: Analysis) -> str:
    """A table of slices for each metric that was measured by slice; empty where none was."""
    measured = _measured(analysis)
    if not measured:
        return ""
    first, *others = (_table(analysis, metric, slices) for metric, slices in measured.items())
    folded = "".join(
        f"<details><summary>{escape(metric)}</summary>{table}</details>"
        for metric, table in zip(list(measured)[1:], others, strict=True)
    )
    lead = (
        f"{escape(next(iter(measured)))} of each slice, mean over seeds \N{PLUS-MINUS SIGN} their standard deviation; "
        "bold: the slice for which a configuration does worst. Slices with few examples vary by chance."
    )
    return section("Slice by slice", lead, first + folded)


def _measured(analysis: Analysis) -> dict[str, list[tuple[str, str]]]:
    """By metric the slices, (column, value), that it was measured for; the metric that decides first.

    Those of the test where there are some, else of validation.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name in map(str, analysis.runs.metrics.columns):
        parts = parts_of(name)
        if parts and not name.endswith("_best"):
            found.setdefault(parts[0], []).append(parts[1:])
    stage = analysis.metric.partition("/")[0]
    stage = stage if any(metric.startswith(f"{stage}/") for metric in found) else "test"
    names = sorted((each for each in found if each.startswith(f"{stage}/")), key=lambda each: each != analysis.metric)
    return {metric: found[metric] for metric in names}


def _table(analysis: Analysis, metric: str, slices: list[tuple[str, str]]) -> str:
    groups = [str(label) for label in analysis.comparison.scored.index[:SHOWN_GROUPS]]
    names = [slice_name(metric, *each) for each in slices]
    scored = analysis.runs.score.notna()
    by_group = analysis.runs.metrics[names][scored].groupby(analysis.groups.of_run[scored])
    means, deviations = by_group.mean().reindex(groups).dropna(how="all"), by_group.std()
    groups = list(means.index)
    if not groups:
        return f'<p class="note">None of the {SHOWN_GROUPS} best configurations measured {escape(metric)} by slice.</p>'
    mode = recorded_direction(analysis.runs, metric) or known_direction(metric)
    worst = {"min": means.idxmax(axis=1), "max": means.idxmin(axis=1)}.get(str(mode), pd.Series(dtype=object))
    order = means.iloc[0].sort_values(ascending=mode == "max", kind="stable").index[:MOST_SLICES]
    head = "".join(f'<th class="n">{escape(each)}</th>' for each in groups)
    rows = ""
    for name in order:
        column, value = slices[names.index(name)]
        cells = "".join(
            _cell(means.loc[group, name], deviations.loc[group, name], is_worst=worst.get(group) == name)
            for group in groups
        )
        rows += f"<tr><td>{escape(column)}</td><td>{escape(value)}</td>{cells}</tr>"
    left_out = len(names) - len(order)
    note = f'<p class="note">{counted(left_out, "more slice")} not shown.</p>' if left_out else ""
    table = f"<table><thead><tr><th>column</th><th>slice</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return scrolling(table, f"{metric} by slice") + note


def _cell(mean: float, deviation: float, *, is_worst: bool) -> str:
    if pd.isna(mean):
        return f'<td class="n">{MISSING}</td>'
    digits = digits_for(deviation) if deviation > 0 else 4
    text = number(mean, digits)
    if pd.notna(deviation):
        text += f" \N{PLUS-MINUS SIGN} {number(deviation, digits)}"
    return f'<td class="n">{f"<b>{text}</b>" if is_worst else text}</td>'
