"""The `launch` command: one offline page that says go, no-go or not yet."""

import hashlib
import json
import sys
import time
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lantu.errors import UserError
from lantu.log_noise import without_noise
from lantu.registry.commands import evidence_of, plain
from lantu.registry.evidence import Evidence, gather
from lantu.registry.gates import check_gates, verdict_of
from lantu.registry.launch_lines import cheapest, lines_of
from lantu.registry.line import Line
from lantu.registry.mlflow_registry import Registry
from lantu.tracking.find import find_run
from lantu.tracking.registered import REGISTERED, RegisteredVersion, find
from lantu.tracking.store import embedded_uri

HEADLINES = {"go": "Go", "no-go": "No-go", "not yet": "Not yet"}
SIGNS = {"met": "✓", "not met": "✗", "not known": "?"}
STYLE = """
:root{color-scheme:light dark;--good:#1a7f37;--bad:#b42318;--open:#9a6700}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#ff8a80;--open:#e3b341}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0} .go{color:var(--good)} .no-go{color:var(--bad)} .not-yet{color:var(--open)}
.met{color:var(--good)} .not-met{color:var(--bad)} .not-known{color:var(--open)}
table{border-collapse:collapse;width:100%;margin:1rem 0} td,th{text-align:left;vertical-align:top;padding:.4rem .5rem;
border-bottom:1px solid #8884} th{font-weight:600} td,dd{overflow-wrap:anywhere} code{font-size:.9em}
small{color:#767676} dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem} dd{margin:0}
@media(max-width:640px){thead{display:none} tr{display:block;border-bottom:1px solid #8884;padding:.4rem 0}
td,tr>th{display:block;border:0;padding:.1rem 0}}
@media print{body{margin:0;max-width:none} tr{break-inside:avoid}}
"""


def job(cfg: DictConfig) -> None:
    """Write the page; exit status 0 for go, 1 for no-go or not yet, 2 for a mistake in what was asked."""
    without_noise()
    try:
        verdict = launch(cfg)
    except UserError as error:
        print(f"lantu launch: {error}", file=sys.stderr)
        sys.exit(2)
    if verdict != "go":
        sys.exit(1)


def launch(cfg: DictConfig) -> str:
    """Write the page and print its headline; returns go, no-go or not yet.

    Raises:
        UserError: there is no such run, or a gate is misspelt.
    """
    gates, business = plain(cfg.gate), plain(cfg.business)
    check_gates(gates)
    output = Path(cfg.output).expanduser()
    if not output.parent.is_dir():
        raise UserError(f"`output={cfg.output}`: there is no folder {output.parent}.")
    client, run = find_run(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
    registry = Registry(client, cfg.paths.tracking_uri or embedded_uri(cfg.paths.store))
    candidate = gather(client, run, tracking_uri=cfg.paths.tracking_uri)
    name = cfg.name or _registered_name(str(cfg.run)) or _name_of(client, candidate.run_id)
    champion, history = _champion(registry, name, candidate)
    lines = lines_of(candidate, champion, gates, history=history, business=business)
    verdict = verdict_of([each for each in lines if each.limit])
    seal = seal_of(candidate, gates)
    output.write_text(page(candidate, champion, lines, verdict=verdict, seal=seal, gates=gates), encoding="utf-8")
    _say(lines, verdict, output)
    return verdict


def seal_of(candidate: Evidence, gates: dict[str, Any]) -> str:
    """A digest of run, data and limits: a page whose limits were changed afterwards has another one."""
    content = json.dumps([candidate.lineage, gates], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def page(
    candidate: Evidence,
    champion: Evidence | None,
    lines: list[Line],
    *,
    verdict: str,
    seal: str,
    gates: dict[str, Any],
) -> str:
    """The page as HTML, in one file that asks nothing of the network."""
    decided = [each for each in lines if each.limit]
    others = [each for each in lines if not each.limit]
    missing = [each for each in others if each.verdict == "not known"]
    known = [each for each in others if each.verdict != "not known"]
    against = "compared with no champion"
    if champion is not None:
        against = f"compared with the champion, version {champion.version or champion.run_id[:8]}"
    nearest = cheapest(lines)
    hint = ""
    if verdict == "not yet" and nearest is not None:
        hint = f"<p>The cheapest evidence that is missing: <code>{escape(nearest.remedy)}</code> ({nearest.gate}).</p>"
    facts = {**candidate.lineage, "limits": json.dumps(gates), "seal of run, data and limits": seal}
    rests = "".join(f"<dt>{escape(key)}</dt><dd><code>{escape(each)}</code></dd>" for key, each in facts.items())
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{HEADLINES[verdict]}: {escape(candidate.name)}</title>"
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style><main>'
        f'<h1 class="{verdict.replace(" ", "-")}">{HEADLINES[verdict]}</h1>'
        f"<p>{escape(candidate.name)}, {escape(against)}. {day}.</p>{hint}"
        f"<h2>Gates</h2>{_table(decided) if decided else '<p>No gate has a limit: set some in conf/gate.</p>'}"
        f"<h2>Measured besides</h2>{_table(known)}"
        f"<h2>Still missing</h2>{_table(missing) if missing else '<p>Nothing.</p>'}"
        f"<h2>What this rests on</h2><dl>{rests}</dl></main></html>"
    )


def _table(lines: list[Line]) -> str:
    head = "<thead><tr><th>Gate</th><th>Claim</th><th>Limit</th><th>Source</th><th>How to meet it</th></tr></thead>"
    rows = []
    for each in lines:
        remedy = f"<code>{escape(each.remedy)}</code>" if each.remedy and each.verdict != "met" else ""
        sign = f'<span class="{each.verdict.replace(" ", "-")}" title="{each.verdict}">{SIGNS[each.verdict]}</span>'
        rows.append(
            f'<tr><th scope="row">{sign} {escape(each.gate)} <small>{each.verdict}</small></th>'
            f"<td>{escape(each.claim)}</td>"
            f"<td>{escape(each.limit)}</td><td><small>{escape(each.source)}</small></td><td>{remedy}</td></tr>"
        )
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _champion(
    registry: Registry, name: str | None, candidate: Evidence
) -> tuple[Evidence | None, list[dict[str, Any]]]:
    """The version that serves now, unless it is the candidate itself; and the model's history."""
    if name is None:
        return None, []
    from mlflow.exceptions import MlflowException

    try:
        version = registry.aliases(name).get("champion")
    except MlflowException as error:
        raise UserError(f"`name={name}`: no model is registered under that name.") from error
    history = registry.history(name)
    if version is None:
        return None, history
    found: RegisteredVersion = find(registry.client, name, version=version)
    return (None if found.run_id == candidate.run_id else evidence_of(registry, found)), history


def _registered_name(run: str) -> str | None:
    """NAME of models:/NAME@ALIAS."""
    if not run.startswith(REGISTERED):
        return None
    return run.removeprefix(REGISTERED).partition("@")[0].partition("/")[0]


def _name_of(client: Any, run_id: str) -> str | None:
    """The model that a run is registered as; None where it is not registered.

    Raises:
        UserError: it is registered as several.
    """
    names = sorted({each.name for each in client.search_model_versions(f"run_id='{run_id}'")})
    if len(names) > 1:
        raise UserError(
            f"the run is registered as {', '.join(names)}: say with whose champion it is compared, `name=...`."
        )
    return str(names[0]) if names else None


def _say(lines: list[Line], verdict: str, output: Path) -> None:
    from rich.console import Console
    from rich.markup import escape as quoted

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{HEADLINES[verdict]}[/bold]")
    for each in lines:
        if each.limit:
            console.print(f"  {each.verdict:<9}  {each.gate:<9} {quoted(each.claim)} (limit: {quoted(each.limit)})")
    nearest = cheapest(lines)
    if nearest is not None:
        console.print(f"next     {quoted(nearest.remedy)}")
    missing = [each.gate for each in lines if not each.limit and each.verdict == "not known"]
    if missing:
        console.print(f"missing  {', '.join(missing)}")
    console.print(f"page     {output}")
