"""Why a trial failed: in a sentence for the terminal, and in its MLflow run for everyone else."""

import uuid
from typing import Any

from lantu.errors import UserError
from lantu.redaction import redact
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder
from lantu.tracking import journal
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder


def sentence(error: BaseException) -> str:
    """An exception as one line: what a list of causes groups by."""
    if type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__  # Hydra names the class that could not be made; what is wrong stands below
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    said = first if isinstance(error, UserError) else f"{type(error).__name__}: {first}".rstrip(": ")
    return redact(said)[:500]


def record_failure(sweep: SweepFolder, trial: TrialFolder, reason: str, tracking: dict[str, Any] | None) -> None:
    """Leave a failed trial in MLflow with its reason, also one that failed before it had begun a record.

    Args:
        tracking: the tracking URI and the parent run, as the trial's logger was given them; None: without MLflow.
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
