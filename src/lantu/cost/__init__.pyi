from .meter import CostMeter as CostMeter
from .prices import Budget as Budget
from .prices import Economics as Economics
