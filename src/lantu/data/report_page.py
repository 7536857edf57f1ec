"""A report of data as one self-contained HTML page."""

from collections.abc import Iterable
from html import escape

from lantu.data.cleaning_report import Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } .out { color: #8a94a0; }
.warning { border-left: 4px solid #c77700; background: #fff7e6; padding: .5rem .8rem; margin: .5rem 0; }
@media (prefers-color-scheme: dark) {
 body { background: #14181d; color: #dde3ea; } td, th { border-color: #2c343d; } .warning { background: #33270d; } }
"""


MOST_SHOWN = 200
"""Rows of a table of findings that the page shows."""
_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{head}</head>
<body>{body}</body></html>
"""


def page(report: Report) -> str:
    """HTML of what was found."""
    title, *lines = report.lines()
    warnings = "".join(f'<p class="warning">{escape(sentence)}</p>' for sentence in report.warnings)
    found = "".join(f"<li>{escape(line)}</li>" for line in lines if not line.startswith("warning: "))
    parts = [f"<h1>{escape(report.title or 'Data')}</h1><p>{escape(title)}</p>", warnings]
    if found:
        parts.append(f"<h2>What was found</h2><ul>{found}</ul>")
    if report.classes:
        names = list(next(iter(report.classes.values())))
        rows = ([name, *(counts[name] for counts in report.classes.values())] for name in names)
        parts.append("<h2>Classes</h2>" + _table(["class", *report.classes], rows))
    if report.columns:
        rows = (
            [each["name"], each["kind"], each["missing"], each["different"], ", ".join(each["examples"])]
            for each in report.columns
        )
        header = ["column", "is a", "missing", "different", "such as"]
        parts.append("<h2>Columns of the training rows</h2>" + _table(header, rows))
    for heading, entries in report.tables.items():
        cells: list[list[object]] = [list(each.values()) for each in entries[:MOST_SHOWN]]
        parts.append(f"<h2>{escape(heading)}</h2>" + _table(list(entries[0]), cells))
        if len(entries) > MOST_SHOWN:
            parts.append(f"<p>and {len(entries) - MOST_SHOWN:,} more, in the JSON file</p>")
    head = f"<title>{escape(report.title)}</title><style>{_STYLE}</style>"
    return _FRAME.format(head=head, body="".join(parts))


def _table(header: list[str], rows: Iterable[list[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr{_left_out(row)}>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: object) -> str:
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{escape(str(value))}</td>"


def _left_out(row: list[object]) -> str:
    return ' class="out"' if len(row) > 1 and row[1] in ("key", "constant") else ""
