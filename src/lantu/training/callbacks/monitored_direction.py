"""The direction of a monitored metric, before the task is known."""

from lantu.metric_direction import direction, known_direction


def initial_mode(monitor: str, mode: str, *, option: str) -> tuple[bool, str]:
    """Return whether the direction is known yet, and the one to start with: the task's metric may decide it later."""
    if mode == "auto" and known_direction(monitor) is None:
        return False, "min"
    return True, direction(monitor, mode, option=option)
