"""Record the baselines of a sweep beside its trials."""

import uuid
from typing import Any

from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.tasks.baselines import Baseline
from lantu.tracking import journal
from lantu.tracking.journal import Journal
from lantu.tracking.run_folder import RunFolder


def record(sweep: SweepFolder, baseline: Baseline, *, tracking_uri: str | None, parent: dict[str, Any] | None) -> None:
    """Record a baseline in MLflow as a child run of the sweep."""
    folder = RunFolder(sweep.path / "baselines" / baseline.name)
    kept = Journal(folder.records)
    head = folder.head()
    folder.owner.claim()
    kept.append(
        "begin",
        format=journal.FORMAT,
        version=journal.VERSION,
        run=head["run"] if head else uuid.uuid4().hex,
        experiment=sweep.content()["experiment"],
        name=f"baseline: {baseline.name}",
        tracking_uri=tracking_uri,
        run_id=None,
        parent=parent,
    )
    kept.append("tags", values={"lantu.baseline": baseline.description})
    kept.append("metrics", step=0, values={**baseline.metrics, "cost/device_hours": baseline.seconds / 3600})
    kept.append("end", status="FINISHED")
    kept.flush()
    kept.close()
