"""The assistant's page: record or choose a recording, read what each stage makes of it, hear the answer."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = """
:root{color-scheme:light dark;--quiet:#5c5c5c;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--quiet:#a6a6a6;--bad:#ff8a80}}
html{background:Canvas;color:CanvasText}
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
button,input{font:inherit;padding:.4rem .6rem;margin:.3rem .5rem .3rem 0}
button{cursor:pointer} button[aria-pressed=true]{background:#c0392b;color:#fff}
table{border-collapse:collapse;width:100%;margin-top:1rem}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
audio{width:100%;margin-top:1rem} .muted{color:var(--quiet)} [role=alert]{color:var(--bad)}
"""
_HERE = Path(__file__).parent
SCRIPT = "".join((_HERE / name).read_text() for name in ("recording.js", "assistant_page.js"))


def assistant_page(stages: Iterable[tuple[str, str]]) -> str:
    """The page, in one file without requests to elsewhere.

    Args:
        stages: each stage's name and the run that it uses.
    """
    used = ", ".join(f"{escape(stage)} {escape(run)}" for stage, run in stages)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Assistant</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style>'
        f"<main><h1>Assistant</h1><p class=muted>{used}</p>"
        '<button id="record" type="button" aria-pressed="false">Record</button>'
        '<label>or a file <input id="file" type="file" accept="audio/*"></label>'
        '<p role="alert" id="why"></p><table><thead><tr><th scope="col">stage<th scope="col">answer'
        '<th scope="col" class="n">confidence<th scope="col" class="n">seconds</tr></thead>'
        '<tbody id="rows" aria-live="polite"></tbody></table><p class=muted id="state"></p>'
        '<audio id="reply" controls hidden aria-label="The spoken answer"></audio></main>'
        f"<script>{SCRIPT}</script></html>"
    )
