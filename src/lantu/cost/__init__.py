"""What a run costs: hours, energy, carbon, money, FLOPs, time spent waiting for data.

Names are imported lazily: the meter needs Lightning, but `lantu sweeps`, which prints amounts, must start fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lantu.cost.meter import CostMeter
    from lantu.cost.prices import Budget, Economics

_HOMES = {"CostMeter": "meter", "Budget": "prices", "Economics": "prices"}

__all__ = ["Budget", "CostMeter", "Economics"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
