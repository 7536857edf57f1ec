"""The report's table of configurations, with what all of them share folded away below it."""

from html import escape

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import TIED, rounded
from lantu.compare.phrases import counted
from lantu.compare.report.outlook import scrolling, section

MOST_ROWS = 30
LEFT_OUT = (TIED, "cost/kwh", "cost/co2e_kg", "cost/device_hours", "speed/samples_per_second")
"""Columns that a file has and the page leaves out: the page has to be read."""


def configurations_section(analysis: Analysis) -> str:
    """The best configurations with their figures, the best first."""
    table = analysis.table.head(MOST_ROWS)
    table.attrs = analysis.table.attrs
    left_out = LEFT_OUT if "cost/usd" in table else LEFT_OUT[:1]
    shown = rounded(table).drop(columns=list(left_out), errors="ignore")
    numeric = {str(name): name not in table or table[name].dtype.kind in "fi" for name in shown.columns}
    head = "".join(
        f'<th class="{"n" if numeric[str(name)] else ""}">{_heading(str(name))}</th>' for name in shown.columns
    )
    rows = []
    tied = analysis.comparison.tied
    for label, cells in shown.iterrows():
        classes = ("alike " if tied[label] else "") + ("first" if label == analysis.winner else "")
        line = "".join(
            f'<td class="{"n" if numeric[str(name)] else ""}" data-label="{escape(str(name), quote=True)}">'
            f"{_cell(str(cell))}</td>"
            for name, cell in cells.items()
        )
        rows.append(f'<tr class="{classes}">{line}</tr>')
    more = len(analysis.table) - len(table)
    constants = _constants(analysis)
    note = f'<p class="note">{counted(more, "more row")} left out; table=FILE.csv writes all.</p>' if more > 0 else ""
    lead = (
        f"Best first; shaded rows are statistically tied with the best. Means over seeds, "
        f"{analysis.comparison.level:.0%} intervals, p corrected for all pairs."
    )
    if not analysis.comparison.tested:
        lead = "Best first."
    body = f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    body = scrolling(body, "Configurations")
    return section("Configurations", lead, body + note + constants)


def _heading(name: str) -> str:
    first, slash, rest = name.partition("/")
    return f"{escape(first)}/<wbr>{escape(rest)}" if slash else escape(name)


def _cell(text: str) -> str:
    mean, sign, half = text.partition(" ± ")
    return f"{escape(mean)} <small>± {escape(half)}</small>" if sign else escape(text)


def _constants(analysis: Analysis) -> str:
    """What is the same everywhere, folded away."""
    same = {
        name: value
        for name, value in sorted(analysis.runs.constants.items())
        if not name.startswith(("paths.", "logger", "callbacks.", "hydra.")) and value not in ("None", "{}", "[]")
    }
    folded = analysis.groups.folded
    parts = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(_cut(value))}</code></dd>" for name, value in same.items()
    )
    parts += "".join(
        f"<dt>{escape(name)}</dt><dd>follows {escape(leader)}</dd>" for name, leader in sorted(folded.items())
    )
    if not parts:
        return ""
    summary = "Shared settings and derived settings"
    return f"<details><summary>{summary}</summary><dl>{parts}</dl></details>"


def _cut(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
