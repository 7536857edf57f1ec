"""What a run costs: hours, energy, carbon, money, FLOPs, time spent waiting for data.

Names are imported lazily: the meter needs Lightning, but `lantu sweeps`, which prints amounts, must start fast.
"""

from typing import TYPE_CHECKING

from lantu.package_exports import lazy_exports

if TYPE_CHECKING:
    from lantu.cost.meter import CostMeter as CostMeter
    from lantu.cost.prices import Budget as Budget
    from lantu.cost.prices import Economics as Economics

__getattr__, __all__ = lazy_exports(__name__, __file__)
