"""Limits that are fixed before the test split is read, so that they cannot be chosen to fit what it says.

They are a tag of the MLflow experiment: the gates, who froze them and when. `lantu launch` compares them with the
gates that it is given, and their time with that of the first test metric of any run on the same test data.
"""

import calendar
import getpass
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from lantu.errors import UserError
from lantu.registry.evidence_files import Limits, what_is_wrong
from lantu.registry.line import Line

TAG = "lantu.limits"
"""Of an experiment."""
MOST_RUNS = 1000
"""Of a page of a search."""


def digest(gates: Mapping[str, Any]) -> str:
    """Of limits, whatever their order."""
    return hashlib.sha256(json.dumps(gates, sort_keys=True).encode()).hexdigest()[:16]


def freeze(client: Any, experiment: str, gates: Mapping[str, Any], *, location: str | None = None) -> dict[str, Any]:
    """Fix the limits of an experiment, which is made if there is none of that name.

    Args:
        location: of its artifacts; None: the store's.

    Raises:
        UserError: other limits are frozen already.
    """
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found is not None else client.create_experiment(experiment, location)
    before = frozen(client, number)
    if before is not None and before["digest"] != digest(gates):
        raise UserError(
            f"the limits of `{experiment}` were frozen on {before['at']} by {before['by']} and cannot be changed: "
            f"{json.dumps(before['gates'])}. Use another experiment for other limits."
        )
    if before is not None:
        return before
    record = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "by": getpass.getuser(), "digest": digest(gates),
        "gates": dict(gates),
    }  # fmt: skip
    client.set_experiment_tag(number, TAG, json.dumps(record))
    return record


def frozen(client: Any, experiment_id: str) -> dict[str, Any] | None:
    """The frozen limits of an experiment; None where there are none.

    Raises:
        UserError: the tag that holds them was edited.
    """
    text = client.get_experiment(experiment_id).tags.get(TAG)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(_edited(str(error))) from error
    wrong = what_is_wrong(Limits, found)
    if wrong is None and found["digest"] != digest(found["gates"]):
        wrong = "its digest is not that of its limits"
    if wrong is not None:
        raise UserError(_edited(wrong))
    return dict(found)


def _edited(reason: str) -> str:
    return (
        f"the frozen limits, which are the tag {TAG} of the experiment in MLflow, are damaged or were edited "
        f"({reason[:200]}). They say nothing any more: freeze limits in another experiment, or delete the tag."
    )


def limits_line(client: Any, run: Any, gates: Mapping[str, Any]) -> Line:
    """Whether the limits of a page are those that were frozen before the run's test."""
    record = frozen(client, run.info.experiment_id)
    read = _first_test(client, run)
    source = f"tag {TAG} of the experiment"
    if record is None:
        when = f" on {read}" if read else ""
        why = f"the limits were not frozen before the test split was read{when}: they may have been chosen to fit it"
        name = client.get_experiment(run.info.experiment_id).name
        return Line("limits", "not known", why, "", source, f"before training: lantu launch freeze={name} gate=...")
    shown = f"frozen on {record['at']} by {record['by']} ({record['digest']})"
    required = "the frozen limits"
    if record["digest"] != digest(gates):
        why = f"the limits of this page ({digest(gates)}) are not those {shown}"
        return Line("limits", "not met", why, required, source, "lantu launch with the gates that were frozen")
    if read is not None and record["at"] >= read:
        why = f"the limits were {shown}, after the test split was read on {read}"
        return Line("limits", "not known", why, required, source, "train and test again, on limits that stand before")
    if (other := _tested_before(client, run, record["at"])) is not None:
        why = f"the limits were {shown}, after run {other} of this experiment had read the same test split"
        return Line(
            "limits", "not known", why, required, source, "freeze limits before any run has read the test split"
        )
    when = f", before this run read the test split on {read}" if read else ", and this run has not read the test split"
    return Line("limits", "met", f"the limits were {shown}{when}", required, source)


def _tested_before(client: Any, run: Any, moment: str) -> str | None:
    """The name of another run of the experiment that had read the same test split by then.

    Runs that do not say what their test data were may have had the same.
    """
    own = _test_data(run)
    until = calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")) * 1000
    token = None
    while True:
        page = client.search_runs(
            [run.info.experiment_id], f"attributes.start_time <= {until}", order_by=["attributes.start_time"],
            max_results=MOST_RUNS, page_token=token,
        )  # fmt: skip
        for each in page:
            if each.info.run_id == run.info.run_id or (own and _test_data(each) and own != _test_data(each)):
                continue
            read = _first_test(client, each)
            if read is not None and read <= moment:
                return str(each.info.run_name or each.info.run_id[:8])
        token = page.token
        if not token:
            return None


def _test_data(run: Any) -> str | None:
    """The digest of a run's test data; None where it logged none."""
    for each in run.inputs.dataset_inputs if run.inputs else []:
        if any(tag.key == "mlflow.data.context" and tag.value == "test" for tag in each.tags):
            return str(each.dataset.digest)
    return None


def _first_test(client: Any, run: Any) -> str | None:
    """When the run logged its first test metric; None where it has none."""
    names = [name for name in run.data.metrics if name.startswith("test/")]
    if not names:
        return None
    moments = [each.timestamp for each in client.get_metric_history(run.info.run_id, min(names))]
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(moments) / 1000)) if moments else None
