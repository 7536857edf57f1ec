"""`lantu sync` and `lantu runs`: upload unsynced runs, list runs, and end interrupted ones."""

import argparse
import os
from collections import Counter
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from lantu import units
from lantu.cli.common_options import add_json_option, add_store_option, pager
from lantu.cli.run_listing import ListedRun, as_json, listed
from lantu.errors import UserError
from lantu.escaping import for_terminal
from lantu.notices import warn_once
from lantu.redaction import redact
from lantu.tracking.rebuild_store import bring_artifacts, set_aside
from lantu.tracking.run_folder import RunFolder, lost_database, run_folders
from lantu.tracking.store import absolute, embedded_uri
from lantu.tracking.upload import BUSY, prepare, upload_once

STATES = {"running": "running", "dead": "interrupted", "waits": "pending", "uploaded": "synced"}
"""What a run's state is called."""
_COLOURS = {"running": "cyan", "dead": "red", "waits": "yellow", "uploaded": "green"}
NOTE, DESCRIPTION = "lantu.note", "mlflow.note.content"
"""Tags of a run: a person's note, and the description on its page in MLflow, which holds the note as well."""
NOTED = "\n\nNote: "
LONGEST_NOTE = 2000
_ENOUGH = 2  # failures after which a destination is not asked again


def sync_main(argv: list[str]) -> int:
    """Upload unsynced runs; returns 0 when every run is synced, else 1."""
    parser = argparse.ArgumentParser(
        "lantu sync",
        description="Upload unsynced runs to MLflow: metrics with their times, parameters, tags, "
        "artifacts, final status. Running it again changes nothing.",
    )
    add_store_option(parser)
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="upload to this store (default: the one that each run was meant for; a password that it needs "
        "is taken from MLFLOW_TRACKING_URI)",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="rebuild a damaged or deleted MLflow database from the runs' journals",
    )
    options = parser.parse_args(argv)
    if options.rebuild:
        return _rebuild(_folders(options.store), options.store.absolute())
    folders = [folder for folder in _folders(options.store) if not folder.is_uploaded()]
    if (lost := lost_database(options.store.absolute())) is not None:
        warn_once(lost)
    if not folders:
        if lost is not None:
            return 1
        Console().print(f"Every run in {options.store} is synced.", highlight=False, soft_wrap=True)
        return 0
    return _upload(folders, options.store.absolute(), options.tracking_uri)


def runs_main(argv: list[str]) -> int:
    """List the runs on local disk; with --repair, end the interrupted ones in MLflow."""
    parser = argparse.ArgumentParser(
        "lantu runs",
        description="List the runs on local disk, the newest first: id, best score, date, cost, and whether MLflow "
        "has it.",
    )
    add_store_option(parser)
    parser.add_argument(
        "--repair", action="store_true", help="upload interrupted runs and end them in MLflow as KILLED"
    )
    parser.add_argument(
        "--note", nargs=2, metavar=("ID", "TEXT"), help="write a note on a run into MLflow, for its page and `compare`"
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="of the note's run (default: the store's own)")
    add_json_option(parser)
    options = parser.parse_args(argv)
    if options.note is not None:
        return _note(*options.note, store=options.store, tracking_uri=options.tracking_uri)
    folders = _folders(options.store)
    if options.json:
        print(as_json([listed(folder, _name(folder, options.store)).as_dict() for folder in reversed(folders)]))
        return 0
    if options.repair:
        dead = [folder for folder in folders if folder.state() == "dead"]
        if dead:
            return _upload(dead, options.store.absolute(), None)
        Console().print(f"No run in {options.store} is interrupted.", highlight=False)
        return 0
    _show(folders, options.store)
    return 0


def _note(run: str, text: str, *, store: Path, tracking_uri: str | None) -> int:
    """Keep a note as a tag of a run of MLflow, and in the description that its page shows."""
    from lantu.tracking.find import find_run

    if not text.strip() or len(text) > LONGEST_NOTE:
        raise UserError(f"`--note`: a note has 1 to {LONGEST_NOTE} characters.")
    client, found = find_run(run, store=store, tracking_uri=tracking_uri)
    before = found.data.tags.get(DESCRIPTION, "").partition(NOTED)[0].rstrip()
    client.set_tag(found.info.run_id, NOTE, text)
    client.set_tag(found.info.run_id, DESCRIPTION, f"{before}{NOTED}{text}".lstrip())
    print(f"noted on {found.info.run_name} ({found.info.run_id[:8]}): {text}")
    return 0


def _rebuild(folders: list[RunFolder], store: Path) -> int:
    """Upload every run of the embedded store to a new database; the old one is kept under another name."""
    own = [folder for folder in folders if folder.destination(store) == embedded_uri(store)]
    if running := [folder for folder in own if folder.state() == "running"]:
        raise UserError(f"{_name(running[0], store)} is still running: rebuild the store when it has ended.")
    kept, earlier = set_aside(store, own)
    if kept is not None:
        print(f"The old database is kept as {kept}.")
    status = _upload(own, store, None)
    for folder in own:
        bring_artifacts(store, folder, earlier.get(folder.run_dir))
    return status


def _folders(store: Path) -> list[RunFolder]:
    if not store.is_dir():
        raise UserError(f"there is no folder {store}. Train first (`lantu train`), or name another: --store DIR.")
    return run_folders(store)


def _upload(folders: list[RunFolder], store: Path, uri: str | None) -> int:
    console = Console()
    prepare()
    failures: Counter[str] = Counter()
    known = [each for each in [os.environ.get("MLFLOW_TRACKING_URI")] if each]
    waiting = 0
    for folder in folders:
        name = _name(folder, store)
        try:
            destination = absolute(uri) if uri else folder.destination(store, known)
        except Exception:  # a record that cannot be read
            destination = None
        if destination is None:
            trouble: str | None = (
                "it is not known where to: its journal has no beginning, or names a server that needs a password. "
                "Set MLFLOW_TRACKING_URI, or say --tracking-uri URI"
            )
        elif failures[destination] >= _ENOUGH:
            trouble = f"not tried, as {redact(destination)} has just failed"
        else:
            with console.status(f"uploading {_plain(name)}"):
                trouble = upload_once(folder, destination)
        if trouble:
            failures[destination or ""] += trouble != BUSY
            waiting += 1
            console.print(f"[yellow]pending[/]  {_plain(name)}: {_plain(trouble)}", highlight=False, soft_wrap=True)
            continue
        progress = folder.upload_progress()
        end = f", {progress.status}" if progress.status else ", still running"
        refused = f", {progress.refused} values refused (see {folder.log})" if progress.refused else ""
        refused += f", {progress.damaged} damaged records of its journal left out" if progress.damaged else ""
        text = f"{_plain(name)}: {progress.metrics:,} points{end}{refused}"
        console.print(f"[green]synced[/]   {text}", highlight=False, soft_wrap=True)
    return 1 if waiting else 0


def _show(folders: list[RunFolder], store: Path) -> None:
    console = Console()
    if not folders:
        console.print(f"There are no runs in {store}.", highlight=False)
        return
    runs = [listed(folder, _name(folder, store)) for folder in reversed(folders)]
    metrics = {each.metric for each in runs if each.metric}
    rows = [_cells(each, named=len(metrics) > 1) for each in runs]
    columns = ("id", "run", "began", "state", "score", "cost")
    widest = [max(len(row[place]) for row in [columns, *rows]) for place in range(len(columns))]
    room = max(console.width - sum(widest) + widest[1] - 2 * (len(columns) - 1), 12)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in ("score", "cost") else "left")
    for each, row in zip(runs, rows, strict=True):
        # what tells runs apart stands at the end of their names
        name = row[1] if len(row[1]) <= room else f"{row[1][: room // 3]}…{row[1][-(room - room // 3 - 1) :]}"
        state = f"[{_COLOURS.get(each.state, 'red')}]{row[3]}[/]"
        table.add_row(row[0], _plain(name), row[2], state, _plain(row[4]), row[5])
    with pager(console, rows=len(runs)):
        console.print(table)
        if len(metrics) == 1:
            console.print(f"score: {metrics.pop()}, the best checkpoint's", highlight=False)
        for each in runs:
            if each.state != "uploaded":
                _tell_pending(console, each)
    if any(each.state in ("waits", "dead") for each in runs):
        console.print(
            f"\n`lantu sync --store {store}` uploads unsynced runs, and ends interrupted ones in MLflow.",
            highlight=False,
        )


def _cells(run: ListedRun, *, named: bool) -> tuple[str, ...]:
    """A run's cells: id, name, date, state, score and cost.

    Args:
        named: whether a score is given with its metric, since not all runs have the same.
    """
    began = datetime.fromisoformat(run.began).astimezone().strftime("%m-%d %H:%M") if run.began else ""
    score = "" if run.score is None else f"{run.metric} {run.score:.4g}" if named else f"{run.score:.4g}"
    cost = "" if run.usd is None else units.format_money(run.usd)
    # without an id in MLflow, a run is called by its folder
    called = run.id[:8] if run.id else run.folder.rpartition("/")[2][:8]
    name = run.name if run.state != "damaged" else run.folder
    return called, name, began, STATES.get(run.state, run.state), score, cost


def _tell_pending(console: Console, run: ListedRun) -> None:
    """Which run is not in MLflow yet, by its folder, and what of it."""
    text = f"{_plain(run.folder)}  {STATES.get(run.state, run.state)}"
    if run.state != "damaged":
        text += f": {run.points_pending:,} points, {run.artifacts_pending} artifacts, {decimal(run.bytes_pending)}"
    if run.trouble:
        text += f"  {_plain(run.trouble)}"
    console.print(text, highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Text of a run for the terminal: neither markup nor control characters have an effect."""
    return escape(for_terminal(text))


def _name(folder: RunFolder, store: Path) -> str:
    runs = store.absolute() / "runs"
    path = folder.run_dir.absolute()
    return str(path.relative_to(runs)) if path.is_relative_to(runs) else str(path)
