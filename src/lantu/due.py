"""When the things that are not done at every step are due, at the same steps on all ranks."""

from typing import Any


def recorded_every(trainer: Any) -> int:
    """Steps from one that is recorded to the next: `trainer.log_every_n_steps`; for 0, never, Lightning's 50."""
    return int(trainer.log_every_n_steps) or 50


def agreed(trainer: Any, due: bool) -> bool:
    """What rank zero's clock says, on every rank; all of them must ask. On a GPU this makes the host wait."""
    return bool(trainer.strategy.broadcast(due)) if trainer.world_size > 1 else due
