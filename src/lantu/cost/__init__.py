"""What a run costs, beside its quality: hours, energy, carbon, money, arithmetic and waiting."""

from lantu.cost.meter import CostMeter
from lantu.cost.prices import Budget, Economics

__all__ = ["Budget", "CostMeter", "Economics"]
