"""What a private run or sweep has spent, on disk as `privacy.json`, and in words."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lantu.errors import UserError
from lantu.foreign_json import parse_json
from lantu.responsible.privacy.accounting import History, epsilon_of

FILE = "privacy.json"
NOT_COVERED = (
    "statistics learned from the training rows (means, categories, vocabulary) and which rows cleaning left out",
    "the number of training rows, which is taken as public",
    "validation and test rows, on which the best checkpoint is chosen and scores are measured",
    "training metrics (train/loss, train/accuracy), which are computed without noise: do not publish them",
    "choosing among runs: a sweep's epsilon is that of all its runs together",
    "attacks on floating-point noise (Mironov 2012), and on whoever can read the key while training runs",
)
"""What the guarantee says nothing about."""


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Write a run's or sweep's account; returns the file."""
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def read(folder: Path) -> dict[str, Any] | None:
    """A run's account; None where it has none."""
    try:
        found = parse_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def total_of(folders: Iterable[Path]) -> dict[str, Any] | None:
    """The account of several runs on the same training rows, as if they were one; None where none was private.

    Raises:
        UserError: an account is damaged. Without it the sum would be too small.
    """
    history: History = []
    accounts, delta = 0, 0.0
    for folder in folders:
        if not (folder / FILE).exists():
            continue
        try:
            account = json.loads((folder / FILE).read_text(encoding="utf-8"))
            history += [(float(n), float(q), int(k)) for n, q, k in account["history"]]
            accounts, delta = accounts + 1, max(delta, float(account["delta"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"what all runs have spent together is not known, since {folder / FILE} is damaged ({error!r})."
            ) from error
    if not accounts:
        return None
    return {
        "runs": accounts,
        "epsilon": epsilon_of(_joined(history), delta=delta, accountant="prv"),
        "delta": delta,
        "history": _joined(history),
    }


def _joined(history: History) -> History:
    """Steps of the same kind added up: composition does not depend on their order."""
    steps: dict[tuple[float, float], int] = {}
    for noise, rate, count in history:
        steps[noise, rate] = steps.get((noise, rate), 0) + count
    return [(noise, rate, count) for (noise, rate), count in steps.items()]
