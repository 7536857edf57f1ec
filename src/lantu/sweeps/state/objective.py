"""What a trial came to in the metric that its sweep aims at."""

from collections.abc import Mapping


def objective_value(values: Mapping[str, float], objective: str) -> float | None:
    """A trial's value of an objective: that of its best epoch, by whichever of the two names it is asked for."""
    base = objective.removesuffix("_best")
    return values.get(f"{base}_best", values.get(base))
