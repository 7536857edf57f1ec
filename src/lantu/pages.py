"""Self-contained HTML pages: one style, tables, pictures, warnings. Everything that is shown is escaped here."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } img { max-width: 100%; background: #fff; }
.quiet { color: #5c6773; } .bar { display: inline-block; height: .8rem; border-radius: 2px; vertical-align: middle; }
.tokens { line-height: 2.1; }
.tokens span { color: #111; padding: .15rem .25rem; border-radius: 3px; margin-right: 2px; }
.warning { border-left: 4px solid #c77700; background: #fff7e6; padding: .5rem .8rem; margin: .5rem 0; }
.todo { border-left: 4px solid #2f6fb7; background: #eaf2fb; padding: .5rem .8rem; margin: .5rem 0; }
@media (prefers-color-scheme: dark) {
 body { background: #14181d; color: #dde3ea; } td, th { border-color: #2c343d; } .quiet { color: #98a3af; }
 .warning { background: #33270d; } .todo { background: #10263d; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document of parts that are HTML already."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )


def heading(text: str, *, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph; `kind` is "", "quiet", "warning" or "todo"."""
    return f'<p class="{kind}">{_with_code(text)}</p>' if kind else f"<p>{_with_code(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{_with_code(each)}</li>' for each in items)}</ul>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers are aligned to the right."""
    head = "".join(f"<th>{escape(str(name))}</th>" if str(name) else "<td></td>" for name in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><tr>{head}</tr>{body}</table></div>'


def picture(png: bytes, *, text: str, width: int | None = None) -> str:
    """A PNG inside the page, with what it shows in words."""
    sized = f' width="{width}"' if width else ""
    return f'<img src="data:image/png;base64,{b64encode(png).decode()}" alt="{escape(text)}"{sized}>'


class Raw(str):
    """A cell that is HTML already."""


def bar(share: float) -> Raw:
    """A bar of a signed share between -1 and 1: blue for more, red for less."""
    colour = "#2f6fb7" if share >= 0 else "#c0392b"
    return Raw(f'<span class="bar" style="width:{abs(share) * 12:.2f}rem;background:{colour}"></span>')


def _with_code(text: str) -> str:
    """Escaped, with what stands in backquotes as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _cell(value: object) -> str:
    if isinstance(value, Raw):
        return f"<td>{value}</td>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape(str(value))}</td>"
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f'<td class="n">{value:.4g}</td>'
