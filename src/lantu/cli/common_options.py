"""Options that several commands share."""

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add `--store DIR`, the folder with the local runs."""
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("mlruns"),
        metavar="DIR",
        help="the folder that holds runs/ (default: mlruns)",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json`, which prints a listing for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def pager(console: "Console", *, rows: int) -> AbstractContextManager[object]:
    """Show a table that is longer than the terminal with the user's pager; elsewhere print it."""
    if console.is_terminal and rows + 5 > console.height:
        return console.pager(styles=True)
    return nullcontext()


def without_json_option(argv: list[str]) -> tuple[bool, list[str]]:
    """Whether `--json` is among the arguments of a command that takes overrides, and the other arguments."""
    return "--json" in argv, [each for each in argv if each != "--json"]
