"""The loss that a run may reach, by the scaling law of the user's own runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lantu.errors import UserError
from lantu.planning.plan import Job

if TYPE_CHECKING:
    from lantu.compare.reading.run_frames import Runs

CONTEXT = "data.context"
"""The option with the tokens of an example."""


@dataclass(frozen=True)
class Forecast:
    """A loss with its 95 % interval."""

    metric: str
    loss: float
    low: float
    high: float
    runs: int
    times_the_largest: float
    """How far beyond the runs it lies: the largest ratio of network size or data size to the largest run's."""


def _times_the_runs_context(job: Job, runs: "Runs", experiment: str) -> float:
    """How many examples of the runs have as many tokens as one of the job; 1 where examples are no text.

    Raises:
        UserError: the runs' examples differ in length, so that their number says little of how much was read.
    """
    if job.context == 1:
        return 1.0
    if CONTEXT in runs.params:
        raise UserError(
            f"`runs={experiment}`: its runs differ in `{CONTEXT}`, so their numbers of examples do not tell the data. "
            "Name an experiment whose runs have one."
        )
    found = runs.constants.get(CONTEXT)
    return job.context / int(found) if found else 1.0


def forecast_from(experiment: str, *, tracking_uri: str, job: Job) -> Forecast:
    """Fit L(N, D) to the runs of an experiment and predict the loss of a job.

    Raises:
        UserError: there is no such experiment, or its runs do not identify a law; the message says why.
    """
    from lantu.compare.analysis import Options, analyse
    from lantu.compare.methods.scaling_fit import Refused
    from lantu.compare.methods.scaling_law import effective_samples
    from lantu.compare.reading.run_frames import Selection
    from lantu.compare.reading.stores import open_reader
    from lantu.compare.scaling_of_runs import fitted_law

    selection = Selection(experiments=(experiment,))
    analysis = analyse(open_reader(tracking_uri), selection, Options(metric="val/loss", examples=False))
    law, _ = fitted_law(analysis)
    if isinstance(law, Refused):
        raise UserError(f"`runs={experiment}`: no scaling law can be fitted to its runs: {law.reason}")
    unique = min(job.unique_examples or job.examples, job.examples)
    worth = float(effective_samples(np.array([job.examples]), np.array([unique]))[0])
    worth *= _times_the_runs_context(job, analysis.runs, experiment)
    values = {"N": float(job.parameters), "D": worth}
    loss, low, high = law.predict(*(values[name] for name in law.variables))
    beyond = max(values[name] / law.ranges[name][1] for name in law.variables)
    return Forecast(analysis.metric, loss, low, high, law.points, beyond)
