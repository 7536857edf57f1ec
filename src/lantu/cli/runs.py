"""`lantu sync` and `lantu runs`: ship what waits on local disk, list it, and end runs that died."""

import argparse
import os
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lantu.errors import UserError
from lantu.redaction import redact
from lantu.tracking.run_folder import RunFolder, run_folders
from lantu.tracking.store import absolute
from lantu.tracking.upload import BUSY, prepare, ship_once

_COLOURS = {"running": "cyan", "dead": "red", "waits": "yellow", "shipped": "green"}
_ENOUGH = 2  # failures after which a destination is not asked again


def sync_main(argv: list[str]) -> int:
    """Ship everything that waits; returns 0 when nothing waits any more, else 1."""
    parser = argparse.ArgumentParser(
        "lantu sync",
        description="Ship to MLflow what waits on local disk: metrics with their times, parameters, tags, "
        "artifacts, final status. Twice is the same as once.",
    )
    _add_store(parser)
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="ship to this store (default: the one that each run was meant for; a password that it needs "
        "is taken from MLFLOW_TRACKING_URI)",
    )
    asked = parser.parse_args(argv)
    folders = [folder for folder in _folders(asked.store) if not folder.is_shipped()]
    if not folders:
        Console().print(f"Nothing waits in {asked.store}.", highlight=False)
        return 0
    return _ship(folders, asked.store.absolute(), asked.tracking_uri)


def runs_main(argv: list[str]) -> int:
    """List the runs on local disk; with --repair, end those that died without saying so."""
    parser = argparse.ArgumentParser(
        "lantu runs",
        description="List the runs on local disk: what runs, what waits to be shipped, what died, what MLflow has.",
    )
    _add_store(parser)
    parser.add_argument("--repair", action="store_true", help="ship dead runs and end them in MLflow as KILLED")
    asked = parser.parse_args(argv)
    folders = _folders(asked.store)
    if asked.repair:
        dead = [folder for folder in folders if folder.state() == "dead"]
        if dead:
            return _ship(dead, asked.store.absolute(), None)
        Console().print(f"No run in {asked.store} is dead.", highlight=False)
        return 0
    _show(folders, asked.store)
    return 0


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("mlruns"),
        metavar="DIR",
        help="the folder that holds runs/ (default: mlruns)",
    )


def _folders(store: Path) -> list[RunFolder]:
    if not store.is_dir():
        raise UserError(f"there is no folder {store}. Train first (`lantu train`), or name another: --store DIR.")
    return run_folders(store)


def _ship(folders: list[RunFolder], store: Path, uri: str | None) -> int:
    console = Console()
    prepare()
    failures: Counter[str] = Counter()
    known = [each for each in [os.environ.get("MLFLOW_TRACKING_URI")] if each]
    waiting = 0
    for folder in folders:
        name = _name(folder, store)
        destination = absolute(uri) if uri else folder.destination(store, known)
        if destination is None:
            trouble: str | None = (
                "it is not known where to: its journal has no beginning, or names a server that needs a password. "
                "Set MLFLOW_TRACKING_URI, or say --tracking-uri URI"
            )
        elif failures[destination] >= _ENOUGH:
            trouble = f"not tried, as {redact(destination)} has just failed"
        else:
            with console.status(f"shipping {name}"):
                trouble = ship_once(folder, destination)
        if trouble:
            failures[destination or ""] += trouble != BUSY
            waiting += 1
            console.print(f"[yellow]waits[/]    {name}: {trouble}", highlight=False, soft_wrap=True)
            continue
        shipped = folder.shipped()
        end = f", {shipped.status}" if shipped.status else ", still running"
        refused = f", {shipped.refused} values refused (see {folder.log})" if shipped.refused else ""
        console.print(
            f"[green]shipped[/]  {name}: {shipped.metrics:,} points{end}{refused}", highlight=False, soft_wrap=True
        )
    return 1 if waiting else 0


def _show(folders: list[RunFolder], store: Path) -> None:
    console = Console()
    if not folders:
        console.print(f"There are no runs in {store}.", highlight=False)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("run", "folder", "state", "MLflow"):
        table.add_column(column, overflow="fold", no_wrap=column == "folder")  # which one copies
    table.add_column("waiting", justify="right")
    table.add_column("trouble", overflow="fold")
    states: Counter[str] = Counter()
    for folder in folders:
        state, shipped, begin = folder.state(), folder.shipped(), folder.head()
        states[state] += 1
        waiting = ""
        if state != "shipped":
            artifacts = sum(1 for _ in folder.spool.tickets())
            waiting = f"{folder.points_waiting():,} points, {artifacts} artifacts, {decimal(folder.waiting())}"
        table.add_row(
            str(begin["name"]) if begin else "?",
            _name(folder, store),
            f"[{_COLOURS[state]}]{state}[/]",
            f"{shipped.run_id or ''} {shipped.status or ''}".strip(),
            waiting,
            shipped.trouble or "",
        )
    console.print(table)
    if states["waits"] or states["dead"]:
        console.print(
            f"\n`lantu sync --store {store}` ships what waits, and ends in MLflow what died.", highlight=False
        )


def _name(folder: RunFolder, store: Path) -> str:
    runs = store.absolute() / "runs"
    path = folder.run_dir.absolute()
    return str(path.relative_to(runs)) if path.is_relative_to(runs) else str(path)
