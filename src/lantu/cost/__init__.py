"""What a run costs: hours, energy, carbon, money, FLOPs, time spent waiting for data.

Names are imported lazily: the meter needs Lightning, but `lantu sweeps`, which prints amounts, must start fast.
"""

from typing import TYPE_CHECKING

from lantu.lazy_imports import attribute_importer

if TYPE_CHECKING:
    from lantu.cost.meter import CostMeter
    from lantu.cost.prices import Budget, Economics

_HOMES = {"CostMeter": "lantu.cost.meter", "Budget": "lantu.cost.prices", "Economics": "lantu.cost.prices"}

__all__ = ["Budget", "CostMeter", "Economics"]

__getattr__ = attribute_importer(__name__, _HOMES)
