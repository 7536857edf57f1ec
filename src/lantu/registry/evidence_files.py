"""The form of each file and tag that a decision rests on.

A person or another program can have edited them, and a folder can hold files of an older version. What does not have
the form is evidence of nothing, and the decision says so.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class Loop(_Form):
    """One loop of a load test."""

    requests: Count
    errors: dict[str, Count]
    ms: dict[str, Amount] = {}


class OpenLoop(Loop):
    """A loop at a fixed rate."""

    rate: Amount | None = None


class Load(_Form):
    """`load.json`."""

    closed: Loop | None = None
    open: OpenLoop | None = None
    usd_per_thousand: Amount | None = None
    server_per_hour: Amount | None = None


class Fairness(_Form):
    """`fairness.json`."""

    group: list[str]
    metrics: dict[str, float]
    examples: dict[str, dict[str, Count]] = {}


class Baselines(_Form):
    """`baselines.json`."""

    metrics: dict[str, float]


class Monitoring(_Form):
    """`monitoring.json`."""

    drifted: list[Any]
    findings: list[Any]
    rows: Count
    new: str


class EqualityOfExport(_Form):
    """`equality.json`."""

    equal: bool
    largest: dict[str, Amount]
    examples: Count


class Privacy(_Form):
    """`privacy.json`; a run that has not ended can know an epsilon alone."""

    epsilon: Amount
    delta: Amount | None = None


class Move(_Form):
    """A decision in the history of a registered model."""

    what: str
    at: str
    version: str | None = None
    alias: str | None = None
    previous: str | None = None


class Limits(_Form):
    """The frozen limits of an experiment."""

    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    by: str
    digest: str
    gates: dict[str, Any]


def what_is_wrong(form: type[BaseModel], content: Any) -> str | None:
    """What a content lacks of a form, in words; None: nothing."""
    try:
        form.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}" if place else str(first["msg"])
    return None
