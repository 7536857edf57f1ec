"""A trial's value of its sweep's objective."""

from collections.abc import Mapping


def objective_value(values: Mapping[str, float], objective: str) -> float | None:
    """Return a trial's value of an objective: the best epoch's if recorded, else the last."""
    base = objective.removesuffix("_best")
    return values.get(f"{base}_best", values.get(base))
