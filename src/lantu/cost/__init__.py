"""What a run costs, beside its quality: hours, energy, carbon, money, arithmetic and waiting.

Names are imported when they are asked for: the meter needs Lightning, and amounts in words, which `lantu sweeps`
prints, do not.
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
