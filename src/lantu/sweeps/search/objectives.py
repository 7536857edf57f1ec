"""What a sweep aims at."""

from typing import Any

from omegaconf import DictConfig, ListConfig

from lantu.errors import UserError
from lantu.metric_direction import direction

_WORDS = {"min": "minimize", "max": "maximize", "minimize": "minimize", "maximize": "maximize"}


def objectives_of(cfg: DictConfig) -> list[str]:
    """The metrics that decide."""
    return _several(cfg.sweep.objective)


def directions_of(cfg: DictConfig) -> list[str]:
    """minimize or maximize, one for each objective.

    Raises:
        UserError: there are not as many directions as objectives.
    """
    objectives = objectives_of(cfg)
    if cfg.sweep.direction is None:
        return [_WORDS[direction(each, option="sweep.direction")] for each in objectives]
    given = _several(cfg.sweep.direction)
    if len(given) != len(objectives) or any(each not in _WORDS for each in given):
        raise UserError(
            f"`sweep.direction={cfg.sweep.direction}`: for {len(objectives)} "
            f"objective{'s' * (len(objectives) > 1)} it takes as many of `minimize` and `maximize`."
        )
    return [_WORDS[each] for each in given]


def _several(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, ListConfig) else [str(value)]
