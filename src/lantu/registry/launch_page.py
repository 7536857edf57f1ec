"""The `launch` command: one offline page that says go, no-go or not yet."""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lantu.config.combinations import check_name
from lantu.config.output_paths import check_file_to_write
from lantu.errors import UserError
from lantu.log_noise import without_noise
from lantu.registry.commands import evidence_of, plain, refuse_deleted
from lantu.registry.constraint_prices import ConstraintPrice, drawn, prices_of
from lantu.registry.evidence import Evidence, gather
from lantu.registry.frozen_limits import freeze, limits_line
from lantu.registry.gates import check_gates, verdict_of
from lantu.registry.launch_lines import lines_of
from lantu.registry.line import Line
from lantu.registry.missing_evidence import cheapest, with_prices
from lantu.registry.mlflow_registry import Registry
from lantu.tracking.find import find_run
from lantu.tracking.mlflow_client import open_mlflow
from lantu.tracking.mlflow_runs import refuse_silent
from lantu.tracking.registered import REGISTERED, RegisteredVersion, find
from lantu.tracking.store import artifact_location, embedded_uri, ensure_store
from lantu.whole_files import write_whole

HEADLINES = {"go": "Go", "no-go": "No-go", "not yet": "Not yet"}
SIGNS = {"met": "✓", "not met": "✗", "not known": "?"}
STYLE = """
:root{color-scheme:light dark;--good:#1a7f37;--bad:#b42318;--open:#9a6700;--quiet:#5c5c5c}
@media(prefers-color-scheme:dark){:root{--good:#4ac26b;--bad:#ff8a80;--open:#e3b341;--quiet:#a6a6a6}}
html{background:Canvas;color:CanvasText}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0} .go{color:var(--good)} .no-go{color:var(--bad)} .not-yet{color:var(--open)}
.met{color:var(--good)} .not-met{color:var(--bad)} .not-known{color:var(--open)}
table{border-collapse:collapse;width:100%;margin:1rem 0} td,th{text-align:left;vertical-align:top;padding:.4rem .5rem;
border-bottom:1px solid #8884} th{font-weight:600} td,dd{overflow-wrap:anywhere} code{font-size:.9em}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(22rem,100%),1fr));gap:1rem}
figure{margin:0;break-inside:avoid} figcaption{font-weight:600} figure p{margin:.2rem 0}
svg{width:100%;height:auto} svg text{font-size:11.5px;fill:currentColor} .grid{stroke:#8884;fill:none}
.axis{stroke:#888;fill:none}
small{color:var(--quiet)}
dl{display:grid;grid-template-columns:minmax(max-content,16rem) 1fr;gap:.1rem 1rem} dd{margin:0}
@media(max-width:640px){dl{display:block} dt{color:var(--quiet)} thead{display:none}
tr{display:block;border-bottom:1px solid #8884;padding:.4rem 0}
td,tr>th{display:block;border:0;padding:.1rem 0}}
@media print{html{background:#fff;color:#000} body{margin:0;max-width:none} tr{break-inside:avoid}}
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
    check_file_to_write("output", str(cfg.output), ending=".html")
    if cfg.freeze is not None:
        check_name(cfg.freeze, key="freeze")
        return _freeze(cfg, gates)
    client, run = find_run(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
    registry = Registry(client, cfg.paths.tracking_uri or embedded_uri(cfg.paths.store))
    candidate = gather(client, run, tracking_uri=cfg.paths.tracking_uri)
    name = cfg.name or _registered_name(str(cfg.run)) or _name_of(client, candidate.run_id)
    refuse_deleted(run)
    champion, history = _champion(registry, name, candidate)
    lost = registry.lost(name, "champion") if name is not None else None
    lines = lines_of(candidate, champion, gates, history=history, business=business)
    lines = with_prices(lines, candidate, champion, client, usd_per_label=cfg.usd_per_label)
    lines.append(limits_line(client, run, gates))
    prices = prices_of(client, run, candidate, gates, tracking_uri=cfg.paths.tracking_uri)
    verdict = verdict_of([each for each in lines if each.limit])
    seal = seal_of(candidate, gates)
    written = page(candidate, champion, lines, verdict=verdict, seal=seal, gates=gates, prices=prices, lost=lost)
    write_whole(output, written)
    _say(lines, verdict, output)
    return verdict


def _freeze(cfg: DictConfig, gates: dict[str, Any]) -> str:
    """Fix the limits of an experiment before its runs are tested."""
    uri = cfg.paths.tracking_uri or embedded_uri(cfg.paths.store)
    if cfg.paths.tracking_uri is None:
        ensure_store(uri)
    else:
        refuse_silent(uri)
    location = artifact_location(uri, str(cfg.freeze))
    record = freeze(open_mlflow(uri), str(cfg.freeze), gates, location=location)
    print(f"limits of {cfg.freeze} frozen on {record['at']} by {record['by']}  ({record['digest']})")
    for name, options in record["gates"].items():
        print(f"  {name:<9} {json.dumps(options)}")
    return "go"


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
    prices: Sequence[ConstraintPrice] = (),
    lost: str | None = None,
) -> str:
    """The page as HTML, in one file that asks nothing of the network.

    Args:
        lost: the version that was the champion last, where it is not registered any more.
    """
    decided = [each for each in lines if each.limit]
    others = [each for each in lines if not each.limit]
    missing = [each for each in others if each.verdict == "not known"]
    known = [each for each in others if each.verdict != "not known"]
    against = "a first launch: there is no other champion, so it is compared with simple models"
    if lost is not None:
        against = f"compared with simple models: version {lost}, the last champion, is not registered any more"
    if champion is not None:
        against = f"compared with the champion, version {champion.version or champion.run_id[:8]}"
    nearest = cheapest(lines)
    hint = ""
    if verdict == "not yet" and nearest is not None:
        hint = f"<p>The cheapest evidence that is missing: {_typed(nearest.remedy)} ({nearest.gate}).</p>"
    facts = {**candidate.lineage, "limits": json.dumps(gates), "seal of run, data and limits": seal}
    rests = "".join(f"<dt>{escape(key)}</dt><dd><code>{escape(each)}</code></dd>" for key, each in facts.items())
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{HEADLINES[verdict]}: {escape(candidate.name)}</title>"
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style><main>'
        f'<h1 class="{verdict.replace(" ", "-")}">{HEADLINES[verdict]}</h1>'
        f"<p>{escape(candidate.name)}, {escape(against)}. {day}.</p>{hint}"
        f"{_summary(candidate, lines)}"
        f"<h2>Gates</h2>{_table(decided) if decided else '<p>No gate has a limit: set some in conf/gate.</p>'}"
        f"{_priced(prices)}"
        f"<h2>Measured besides</h2>{_table(known)}"
        f"<h2>Still missing</h2>{_table(missing) if missing else '<p>Nothing.</p>'}"
        f"<h2>What this rests on</h2><dl>{rests}</dl></main></html>"
    )


def _summary(candidate: Evidence, lines: list[Line]) -> str:
    """What a decision is made of, in five answers; each is a line further down."""
    by_gate = {each.gate: each for each in lines}
    version = f", version {candidate.version}" if candidate.version else ""
    answers = {"What is launched": f"{candidate.name}{version}, run {candidate.run_id}"}
    for question, gate in (
        ("How sure it is that it is better", "quality"),
        ("What a wrong decision costs", "risk"),
        ("What it earns", "money"),
        ("What it is for, and what not", "use"),
    ):
        line = by_gate.get("baseline" if gate == "quality" and "baseline" in by_gate else gate)
        if line is not None:
            answers[question] = _capital(line.claim)
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in answers.items())
    return f"<dl>{rows}</dl>"


def _priced(prices: Sequence[ConstraintPrice]) -> str:
    if not prices:
        return ""
    pictures = "".join(
        f"<figure><figcaption>{escape(each.name)}</figcaption>{drawn(each)}<p>{escape(_capital(each.claim))}.</p></figure>"
        for each in prices
    )
    how = (
        "Each point is a run of the same experiment, tested on the same examples. The dashed steps join the runs that "
        "no other beats in both; the upright line is the limit."
    )
    return f'<h2>What each constraint costs</h2><p>{how}</p><div class="charts">{pictures}</div>'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(lines: list[Line]) -> str:
    head = "<thead><tr><th>Gate</th><th>Claim</th><th>Limit</th><th>Source</th><th>How to meet it</th></tr></thead>"
    rows = []
    for each in lines:
        remedy = _typed(each.remedy) if each.remedy and each.verdict != "met" else ""
        sign = f'<span class="{each.verdict.replace(" ", "-")}" title="{each.verdict}">{SIGNS[each.verdict]}</span>'
        rows.append(
            f'<tr><th scope="row">{sign} {escape(each.gate)} <small>{each.verdict}</small></th>'
            f"<td>{escape(each.claim)}</td>"
            f"<td>{escape(each.limit)}</td><td><small>{escape(each.source)}</small></td><td>{remedy}</td></tr>"
        )
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _typed(remedy: str) -> str:
    """A command as code, words as words."""
    return f"<code>{escape(remedy)}</code>" if remedy.startswith("lantu ") else escape(remedy)


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
