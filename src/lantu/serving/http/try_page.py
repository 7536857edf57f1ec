"""A small page to try a model by hand: a form for rows, files for pictures and sound, a text to go on from."""

import json
from html import escape

from lantu.serving.http.served import ServedModel

STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
label{display:block;margin:.6rem 0 .1rem}
input,textarea,button{font:inherit;padding:.4rem .6rem;width:100%;box-sizing:border-box}
button{width:auto;margin-top:1rem;cursor:pointer}
table{border-collapse:collapse;width:100%;margin-top:1rem}
td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #8884}
td:last-child{text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
pre{white-space:pre-wrap} .muted{color:#777} [role=alert]{color:#c0392b}
"""
SCRIPT = """
const form=document.querySelector('form'),out=document.querySelector('#answer'),why=document.querySelector('#why');
const head=()=>{const t=document.querySelector('#token');return t&&t.value?{Authorization:'Bearer '+t.value}:{}};
const value=e=>e.value===''?null:e.dataset.type==='number'&&!isNaN(e.value)?Number(e.value):e.value;
form.addEventListener('submit',async event=>{
  event.preventDefault();why.textContent='';out.replaceChildren();
  let body,headers=head();const file=document.querySelector('#file');
  if(file){body=new FormData();for(const f of file.files)body.append('file',f)}
  else{const row={};for(const e of form.querySelectorAll('[data-name]'))row[e.dataset.name]=value(e);
    headers['Content-Type']='application/json';body=JSON.stringify({inputs:[row]})}
  try{
    const reply=await fetch('predict',{method:'POST',headers,body}),found=await reply.json();
    if(!reply.ok){why.textContent=found.error.message;return}
    for(const record of found.predictions){const table=document.createElement('table');
      for(const [name,v] of Object.entries(record)){const row=table.insertRow();
        const th=document.createElement('th');th.scope='row';th.textContent=name;row.append(th);
        row.insertCell().textContent=typeof v==='number'?+v.toPrecision(6):typeof v==='string'?v:JSON.stringify(v)}
      out.append(table)}
  }catch(error){why.textContent='No answer: '+error.message}
});
const query=new URLSearchParams(location.search),named=[...form.querySelectorAll('[data-name]')];
for(const e of named)if(query.has(e.dataset.name))e.value=query.get(e.dataset.name);
if(named.some(e=>query.has(e.dataset.name)))form.requestSubmit();
"""


def page(model: ServedModel, *, needs_token: bool) -> str:
    """The page, in one file without requests to elsewhere; a link such as `/?age=31&home=rent` fills the form."""
    token = '<label for="token">Token</label><input id="token" type="password">' if needs_token else ""
    title = escape(f"{model.name} {model.version}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style>'
        f"<main><h1>{escape(model.name)}</h1><p class=muted>version {escape(model.version)}</p>"
        f"<form>{token}{_fields(model)}<button>Predict</button></form>"
        '<p role="alert" id="why"></p><div id="answer" aria-live="polite"></div></main>'
        f"<script>{SCRIPT}</script></html>"
    )


def _fields(model: ServedModel) -> str:
    if model.prompted:
        return '<label for="prompt">Prompt</label><textarea id="prompt" rows="5" data-name="prompt"></textarea>'
    if model.takes_files():
        return '<label for="file">Files</label><input id="file" type="file" multiple required>'
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
