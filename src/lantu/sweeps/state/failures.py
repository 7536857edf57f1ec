"""Record why a trial failed: one line for the terminal, and a failed run in MLflow."""

import uuid
from typing import Any

from lantu.errors import UserError
from lantu.redaction import redact
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder
from lantu.tracking import journal
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder


def failure_message(error: BaseException) -> str:
    """Format an exception as one line; the sweep's list of failures groups by it."""
    if type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__  # Hydra names the class that could not be built; its cause says why
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    message = first if isinstance(error, UserError) else f"{type(error).__name__}: {first}".rstrip(": ")
    return redact(message)[:500]


def record_failure(sweep: SweepFolder, trial: TrialFolder, reason: str, tracking: dict[str, Any] | None) -> None:
    """Record a failed trial in MLflow with the reason, even if it failed before its logger started.

    Args:
        tracking: the tracking URI and parent run from the trial's logger; None without MLflow.
    """
    folder = RunFolder(trial.path)
    if tracking is None:
        return
    record = Journal(folder.records)
    try:
        if folder.head() is None:
            record.append(
                "begin",
                format=journal.FORMAT,
                version=journal.VERSION,
                run=uuid.uuid4().hex,
                experiment=sweep.content()["experiment"],
                name=trial.name,
                run_id=None,
                **tracking,
            )
            folder.owner.claim()
            values = dict(each.lstrip("+").partition("=")[::2] for each in trial.point.overrides)
            record.append("params", values=values)
            record.append("tags", values={"lantu.sweep": sweep.name, "lantu.trial": str(trial.number)})
        record.append("tags", values={"lantu.failure": reason})
        record.append("end", status="FAILED")
        record.flush()
    finally:
        record.close()
