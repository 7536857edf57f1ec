"""A small page to try a model by hand: a form for rows, files for pictures and sound, a prompt for text."""

import json
from html import escape
from pathlib import Path

from lantu.serving.http.served import ServedModel

SCRIPT = Path(__file__).with_name("try_page.js")
RECORDING = Path(__file__).parents[1] / "recording.js"
STYLE = """
:root{color-scheme:light dark;--quiet:#5c5c5c;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--quiet:#a6a6a6;--bad:#ff8a80}}
html{background:Canvas;color:CanvasText}
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
label{display:block;margin:.6rem 0 .1rem}
input,textarea,button{font:inherit;padding:.4rem .6rem;width:100%;box-sizing:border-box}
button{width:auto;margin-top:1rem;cursor:pointer}
table{border-collapse:collapse;width:100%;margin-top:1rem}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884}
td:last-child{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
audio{width:100%} .muted{color:var(--quiet)} [role=alert]{color:var(--bad)}
"""


def page(model: ServedModel, *, needs_token: bool) -> str:
    """The page, in one file without requests to elsewhere; a link such as `/?age=31&home=rent` fills the form."""
    token = '<label for="token">Token</label><input id="token" type="password">' if needs_token else ""
    script = "".join(each.read_text(encoding="utf-8") for each in (RECORDING, SCRIPT))
    button = "Write" if _writes(model) else "Predict"
    anew = ' <button type="button" id="anew">New conversation</button>' if _writes(model) else ""
    title = escape(f"{model.name} {model.version}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style>'
        f"<main><h1>{escape(model.name)}</h1><p class=muted>version {escape(model.version)}</p>"
        f"<form>{token}{_fields(model)}<button>{button}</button>{anew}</form>"
        '<p role="alert" id="why"></p><div id="answer" aria-live="polite"></div></main>'
        f"<script>{script}</script></html>"
    )


def _writes(model: ServedModel) -> bool:
    return bool(model.prompted and not model.task.speaks)


def _fields(model: ServedModel) -> str:
    if _writes(model):
        return (
            '<label for="prompt">Prompt</label><textarea id="prompt" rows="5" data-writes required></textarea>'
            '<label for="tokens">Tokens at most</label><input id="tokens" inputmode="numeric" value="200">'
            '<label for="temperature">Temperature</label><input id="temperature" inputmode="decimal" value="0.8">'
        )
    if model.prompted:
        return '<label for="prompt">Text</label><textarea id="prompt" rows="5" data-name="text"></textarea>'
    if model.takes_files():
        hears = model.data.takes_recordings
        record = '<button type="button" id="record" aria-pressed="false">Record</button> ' if hears else ""
        return f'<label for="file">Files</label><input id="file" type="file" multiple>{record}'
    fields = []
    for number, each in enumerate(model.schema()):
        kind = "number" if each["type"] in ("double", "long", "float", "integer") else "text"
        name = escape(each["name"], quote=True)
        mode = ' inputmode="decimal"' if kind == "number" else ""
        fields.append(f'<label for="f{number}">{name}</label><input id="f{number}" data-name="{name}"')
        fields.append(f' data-type="{kind}"{mode}>')
    if not fields:
        example = escape(json.dumps({"inputs": [{"column": "value"}]}))
        return f"<p>Send rows as JSON to <code>POST /predict</code>: <code>{example}</code></p>"
    return "".join(fields)
