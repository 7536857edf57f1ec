"""The loss that a run may reach, by the scaling law of the user's own runs."""

from dataclasses import dataclass

import numpy as np

from lantu.errors import UserError
from lantu.planning.plan import Job


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
    values = {"N": float(job.parameters), "D": worth}
    loss, low, high = law.predict(*(values[name] for name in law.variables))
    beyond = max(values[name] / law.ranges[name][1] for name in law.variables)
    return Forecast(analysis.metric, loss, low, high, law.points, beyond)
