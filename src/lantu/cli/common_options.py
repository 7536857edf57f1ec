"""Options that several commands share."""

import argparse
from pathlib import Path


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add `--store DIR`, the folder with the local runs."""
    parser.add_argument(
        "--store",
        type=Path,
        default=Path("mlruns"),
        metavar="DIR",
        help="the folder that holds runs/ (default: mlruns)",
    )
