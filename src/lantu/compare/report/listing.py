"""The report's list of every run: which configuration it belongs to, how it ended, and where MLflow shows it."""

from html import escape

import pandas as pd

from lantu.compare.analysis import Analysis
from lantu.compare.comparison_table import number
from lantu.compare.phrases import counted
from lantu.compare.report.outlook import scrolling, section

MOST_RUNS = 3000


def runs_section(analysis: Analysis) -> str:
    """All runs, best configuration first, folded away: a browser's search opens it."""
    runs, groups = analysis.runs, analysis.groups
    place = {label: at for at, label in enumerate(analysis.comparison.table.index)}
    order = groups.of_run.map(place).sort_values(kind="stable").index[:MOST_RUNS]
    rows = "".join(_row(str(run), analysis) for run in order)
    head = f"<th>run</th><th>configuration</th><th>seed</th><th>ended</th><th class='n'>{escape(analysis.metric)}</th>"
    table = scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", "All runs")
    left = len(runs) - len(order)
    note = f'<p class="note">{counted(left, "more run")} left out.</p>' if left else ""
    uri = analysis.options.tracking_uri or ""
    where = (
        "Each links to its page in MLflow." if _is_server(uri) else "`lantu ui` opens MLflow, which finds them by id."
    )
    title = f"<summary>{counted(len(runs), 'run')}: names, ids, seeds and scores</summary>"
    return section("Runs", escape(where), f"<details>{title}{table}{note}</details>")


def _row(run: str, analysis: Analysis) -> str:
    info = analysis.runs.info.loc[run]
    failed = bool(analysis.failed[run])
    state = "failed" if failed else str(info["status"]).lower()
    score = analysis.runs.score[run]
    seed = analysis.groups.seed[run]
    cells = [
        f'<td class="words">{_linked(run, escape(str(info["name"])), analysis)} '
        f"<small><code>{escape(run)}</code></small></td>",
        f'<td class="words">{escape(str(analysis.groups.of_run[run]))}</td>',
        f"<td>{escape(str(seed)) if pd.notna(seed) else ''}</td>",
        f"<td>{escape(state)}</td>",
        f'<td class="n">{number(float(score)) if pd.notna(score) else ""}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _linked(run: str, name: str, analysis: Analysis) -> str:
    """A run's name as a link to its page, where a server has one."""
    experiment = analysis.runs.info.loc[run].get("experiment_id")
    address = run_address(analysis, experiment=str(experiment), run=run)
    if not address or experiment is None:
        return name
    return f'<a href="{escape(address, quote=True)}">{name}</a>'


def run_address(analysis: Analysis, *, experiment: str, run: str) -> str:
    """Where MLflow shows a run, "" without a server; credentials in the address are left out."""
    uri = analysis.options.tracking_uri or ""
    if not _is_server(uri):
        return ""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].rstrip('/')}/#/experiments/{experiment}/runs/{run}"


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))
